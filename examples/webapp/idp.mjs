// A tiny identity provider in the manner of OpenID Connect, so that the example needs no account
// anywhere: its only user types a name and has no password. Never run it in production.
import { createHash, randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { SignJWT, exportJWK, generateKeyPair } from 'jose'

const { HOST = '127.0.0.1', PORT = '18201', CLIENT_ID = 'shop', REDIRECT_URI = 'http://127.0.0.1:18200/callback' } = process.env
const ISSUER = `http://${HOST}:${PORT}`

const { publicKey, privateKey } = await generateKeyPair('ES256')
const jwk = { ...(await exportJWK(publicKey)), kid: 'idp', alg: 'ES256', use: 'sig' }
// What each authorization code was issued for; a code is used once.
const codes = new Map()

const metadata = {
  issuer: ISSUER,
  authorization_endpoint: `${ISSUER}/authorize`,
  token_endpoint: `${ISSUER}/token`,
  jwks_uri: `${ISSUER}/jwks`,
  response_types_supported: ['code'],
  subject_types_supported: ['public'],
  id_token_signing_alg_values_supported: ['ES256'],
  code_challenge_methods_supported: ['S256'],
  token_endpoint_auth_methods_supported: ['none'],
}

const page = `<!doctype html><html lang="en"><title>Sign in</title>
<h1>Identity provider</h1>
<form method="post"><label>Name <input name="name" required pattern="[a-z]+" autofocus></label> <button>Sign in</button></form>`

const readForm = async (request) => new URLSearchParams(Buffer.concat(await Array.fromAsync(request)).toString())

const routes = {
  'GET /.well-known/openid-configuration': () => metadata,
  'GET /jwks': () => ({ keys: [jwk] }),
  'GET /authorize': () => page,

  // The form was submitted: sends the browser back with a code.
  'POST /authorize': async (request, query, response) => {
    if (query.get('client_id') !== CLIENT_ID || query.get('redirect_uri') !== REDIRECT_URI) throw new Error('invalid_client')
    const name = (await readForm(request)).get('name')
    if (!/^[a-z]+$/.test(name ?? '')) throw new Error('access_denied')
    const code = randomUUID()
    codes.set(code, { name, nonce: query.get('nonce'), challenge: query.get('code_challenge') })
    const back = new URLSearchParams({ code, state: query.get('state') ?? '', iss: ISSUER })
    response.writeHead(303, { location: `${REDIRECT_URI}?${back}` }).end()
  },

  // The server of the page exchanges the code for an ID token. PKCE (RFC 7636) binds the code to it.
  'POST /token': async (request) => {
    const form = await readForm(request)
    const granted = codes.get(form.get('code'))
    codes.delete(form.get('code'))
    const challenge = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url')
    if (!granted || granted.challenge !== challenge) throw new Error('invalid_grant')
    const idToken = await new SignJWT({ nonce: granted.nonce })
      .setProtectedHeader({ alg: 'ES256', kid: 'idp' })
      .setIssuer(ISSUER)
      .setAudience(CLIENT_ID)
      .setSubject(granted.name)
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(privateKey)
    return { token_type: 'Bearer', access_token: randomUUID(), id_token: idToken, expires_in: 300 }
  },
}

createServer(async (request, response) => {
  const url = new URL(request.url, ISSUER)
  const route = routes[`${request.method} ${url.pathname}`]
  try {
    if (!route) return response.writeHead(404).end()
    const body = await route(request, url.searchParams, response)
    if (typeof body === 'string') response.setHeader('content-type', 'text/html').end(body)
    else if (body) response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
  } catch (error) {
    response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ error: error.message }))
  }
}).listen(Number(PORT), HOST)
