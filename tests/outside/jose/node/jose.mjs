// jose: `verify JWKS_URL ISSUER AUDIENCE <TOKEN` and `sign ALGORITHM CLAIMS…`.
import { readFileSync } from 'node:fs'
import * as jose from 'jose'

const [command, ...words] = process.argv.slice(2)

if (command === 'verify') {
  const [jwksUrl, issuer, audience] = words
  const token = readFileSync(0, 'utf8').trim()
  const keys = jose.createRemoteJWKSet(new URL(jwksUrl))
  const requiredClaims = ['exp', 'sub']
  const { payload } = await jose.jwtVerify(token, keys, { issuer, audience, requiredClaims })
  console.log(payload.sub)
} else {
  const [algorithm, ...tokens] = words
  const { publicKey, privateKey } = await jose.generateKeyPair(algorithm)
  const jwk = await jose.exportJWK(publicKey)
  console.log(JSON.stringify({ ...jwk, kid: 'node', alg: algorithm, use: 'sig' }))
  for (const claims of tokens) {
    const token = new jose.SignJWT(JSON.parse(claims))
    console.log(await token.setProtectedHeader({ alg: algorithm, kid: 'node' }).sign(privateKey))
  }
}
