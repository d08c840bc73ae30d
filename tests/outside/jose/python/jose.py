"""PyJWT: `verify JWKS_URL ISSUER AUDIENCE <TOKEN` and `sign ALGORITHM CLAIMS…`."""

import json
import sys

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def verify(jwks_url: str, issuer: str, audience: str) -> None:
    token = sys.stdin.read().strip()
    key = jwt.PyJWKClient(jwks_url).get_signing_key_from_jwt(token)
    options = {"require": ["exp", "iss", "aud", "sub"]}
    claims = jwt.decode(token, key, issuer=issuer, audience=audience, options=options)
    print(claims["sub"])


def sign(algorithm: str, *tokens: str) -> None:
    if algorithm.startswith("ES"):
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    jwk = {member: jwk[member] for member in ("kty", "crv", "x", "y", "n", "e") if member in jwk}
    jwk |= {"kid": "python", "alg": algorithm, "use": "sig"}
    print(json.dumps(jwk))
    for claims in tokens:
        print(jwt.encode(json.loads(claims), key, algorithm, headers={"kid": "python"}))


{"verify": verify, "sign": sign}[sys.argv[1]](*sys.argv[2:])
