// A backend for end users: verifies their tokens locally, with the published keys of the pool.
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRemoteJWKSet, jwtVerify } from 'jose'

const {
  ANON_API_URL, // of anon-operator
  ANON_API_KEY_FILE, // in the mounted Secret
  ANON_CLIENT_ID, // the webapp client that the users come through
  ANON_ISSUER, // of the pool's tokens
  ANON_JWKS_URL, // the pool's public keys
  WEBAPP_ORIGIN, // the only origin whose pages may read the responses
  HOST = '127.0.0.1',
  PORT = '18212',
} = process.env

// Fetched when needed, and again for a token with an unknown key, at most every 5 s.
const keys = createRemoteJWKSet(new URL(ANON_JWKS_URL), { cooldownDuration: 5_000 })
const expected = {
  issuer: ANON_ISSUER,
  audience: ANON_CLIENT_ID,
  algorithms: ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'],
  requiredClaims: ['exp', 'sub'],
}
// Errors of jose that are about the token. Any other error means that it could not be verified.
const INVALID = new Set([
  'ERR_JOSE_ALG_NOT_ALLOWED',
  'ERR_JOSE_NOT_SUPPORTED',
  'ERR_JWKS_NO_MATCHING_KEY',
  'ERR_JWS_INVALID',
  'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
  'ERR_JWT_CLAIM_VALIDATION_FAILED',
  'ERR_JWT_EXPIRED',
  'ERR_JWT_INVALID',
])

class Unauthorized extends Error {}

async function authenticate(request) {
  const [, token] = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '') ?? []
  if (!token) throw new Unauthorized()
  try {
    const { payload } = await jwtVerify(token, keys, expected)
    return { appUserId: payload.sub, token }
  } catch (error) {
    throw INVALID.has(error.code) ? new Unauthorized() : error
  }
}

const routes = {
  'GET /healthz': async () => ({ status: 'ok' }),

  'GET /me': async (request) => {
    const { appUserId } = await authenticate(request)
    return { appUserId }
  },

  // Creates the URL at which the user connects a calendar.
  'POST /link': async (request) => {
    const { token } = await authenticate(request)
    const query = new URLSearchParams({
      app: 'calendar',
      clientId: ANON_CLIENT_ID,
      redirectUrl: `${WEBAPP_ORIGIN}/linked`,
      appUserIdToken: token,
    })
    // Reads the file each time: the kubelet replaces it when the operator rotates the key.
    const apiKey = (await readFile(ANON_API_KEY_FILE, 'utf8')).trim()
    const reply = await fetch(`${ANON_API_URL}/link/url?${query}`, {
      headers: { authorization: `Bearer ${apiKey}` },
      redirect: 'error',
      signal: AbortSignal.timeout(5_000),
    })
    const body = await reply.json()
    if (reply.ok) return { url: body.url }
    // The operator knows about revoked users, too.
    if (reply.status === 400 && body.field === 'appUserIdToken') throw new Unauthorized()
    // This includes a rejected API key, which is not the fault of the user.
    throw new Error(`the API responded with status ${reply.status}`)
  },
}

createServer(async (request, response) => {
  const answer = (status, body, headers = {}) =>
    response.writeHead(status, { ...headers, 'content-type': 'application/json' }).end(JSON.stringify(body))
  response.setHeader('access-control-allow-origin', WEBAPP_ORIGIN)
  response.setHeader('access-control-allow-headers', 'Authorization')
  response.setHeader('cache-control', 'no-store')
  if (request.method === 'OPTIONS') return response.writeHead(204).end()

  const route = routes[`${request.method} ${request.url.split('?')[0]}`]
  if (!route) return answer(404, { error: 'not found' })
  try {
    answer(200, await route(request))
  } catch (error) {
    if (error instanceof Unauthorized) {
      return answer(401, { error: 'unauthorized' }, { 'www-authenticate': 'Bearer realm="backend"' })
    }
    // Fail closed: without an answer, the user is not let in.
    console.error('cannot answer:', error.code ?? error.message)
    answer(503, { error: 'unavailable' }, { 'retry-after': '1' })
  }
}).listen(Number(PORT), HOST)
