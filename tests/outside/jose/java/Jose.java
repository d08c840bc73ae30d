// Nimbus, which Spring Security uses: `verify JWKS_URL ISSUER AUDIENCE <TOKEN` and `sign ALGORITHM CLAIMS…`.

import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.JWSHeader;
import com.nimbusds.jose.crypto.factories.DefaultJWSSignerFactory;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.KeyUse;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.jose.jwk.gen.RSAKeyGenerator;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Set;

class Jose {
    public static void main(String[] words) throws Exception {
        if (words[0].equals("verify")) {
            verify(words[1], words[2], words[3]);
        } else {
            sign(JWSAlgorithm.parse(words[1]), List.of(words).subList(2, words.length));
        }
    }

    static void verify(String jwksUrl, String issuer, String audience) throws Exception {
        var token = new String(System.in.readAllBytes(), StandardCharsets.UTF_8).strip();
        var keys = JWKSourceBuilder.create(URI.create(jwksUrl).toURL()).build();
        var algorithms = Set.of(JWSAlgorithm.RS256, JWSAlgorithm.PS256, JWSAlgorithm.ES256, JWSAlgorithm.ES384);
        var processor = new DefaultJWTProcessor<SecurityContext>();
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(algorithms, keys));
        var exact = new JWTClaimsSet.Builder().issuer(issuer).build();
        processor.setJWTClaimsSetVerifier(new DefaultJWTClaimsVerifier<>(audience, exact, Set.of("sub", "exp")));
        System.out.println(processor.process(token, null).getSubject());
    }

    static void sign(JWSAlgorithm algorithm, List<String> tokens) throws Exception {
        JWK key = JWSAlgorithm.Family.EC.contains(algorithm)
                ? new ECKeyGenerator(Curve.P_256).keyID("java").algorithm(algorithm).keyUse(KeyUse.SIGNATURE).generate()
                : new RSAKeyGenerator(2048).keyID("java").algorithm(algorithm).keyUse(KeyUse.SIGNATURE).generate();
        System.out.println(key.toPublicJWK().toJSONString());
        var header = new JWSHeader.Builder(algorithm).keyID("java").build();
        for (var claims : tokens) {
            var token = new SignedJWT(header, JWTClaimsSet.parse(claims));
            token.sign(new DefaultJWSSignerFactory().createJWSSigner(key, algorithm));
            System.out.println(token.serialize());
        }
    }
}
