// go-jose: `verify JWKS_URL ISSUER AUDIENCE <TOKEN` and `sign ALGORITHM CLAIMS…`.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func main() {
	var err error
	if os.Args[1] == "verify" {
		err = verify(os.Args[2], os.Args[3], os.Args[4])
	} else {
		err = sign(jose.SignatureAlgorithm(os.Args[2]), os.Args[3:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func verify(jwksURL, issuer, audience string) error {
	reply, err := http.Get(jwksURL)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	var keys jose.JSONWebKeySet
	if err := json.NewDecoder(reply.Body).Decode(&keys); err != nil {
		return err
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	algorithms := []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA}
	token, err := jwt.ParseSigned(strings.TrimSpace(string(text)), algorithms)
	if err != nil {
		return err
	}
	var claims jwt.Claims
	if err := token.Claims(keys, &claims); err != nil {
		return err
	}
	expected := jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{audience}, Time: time.Now()}
	if err := claims.Validate(expected); err != nil {
		return err
	}
	fmt.Println(claims.Subject)
	return nil
}

func sign(algorithm jose.SignatureAlgorithm, tokens []string) error {
	key, public, err := generate(algorithm)
	if err != nil {
		return err
	}
	jwk := jose.JSONWebKey{Key: public, KeyID: "go", Algorithm: string(algorithm), Use: "sig"}
	text, err := jwk.MarshalJSON()
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	options := (&jose.SignerOptions{}).WithHeader("kid", "go").WithType("JWT")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		return err
	}
	for _, claims := range tokens {
		signed, err := signer.Sign([]byte(claims))
		if err != nil {
			return err
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			return err
		}
		fmt.Println(token)
	}
	return nil
}

func generate(algorithm jose.SignatureAlgorithm) (any, crypto.PublicKey, error) {
	switch algorithm {
	case jose.EdDSA:
		public, key, err := ed25519.GenerateKey(rand.Reader)
		return key, public, err
	case jose.ES256:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		return key, key.Public(), err
	default:
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		return key, key.Public(), err
	}
}
