// The server of the page: signs users in with an identity provider, and requests appUserIdTokens
// for them with its API key, which never reaches the browser.
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import * as oidc from 'openid-client'

const {
  ANON_API_URL, // of anon-operator, for this server
  ANON_PUBLIC_URL = ANON_API_URL, // of anon-operator, for browsers
  ANON_API_KEY_FILE, // in the mounted Secret
  ANON_CLIENT_ID, // the webapp client of this page
  BACKEND_URLS = '', // separated by commas, for browsers
  IDP_URL = 'http://127.0.0.1:18201',
  IDP_CLIENT_ID = 'shop',
  WEBAPP_ORIGIN = 'http://127.0.0.1:18200',
  HOST = '127.0.0.1',
  PORT = '18200',
} = process.env

const REDIRECT_URI = `${WEBAPP_ORIGIN}/callback`
const CONFIG = { apiUrl: ANON_PUBLIC_URL, clientId: ANON_CLIENT_ID, backends: BACKEND_URLS.split(',').filter(Boolean) }
const SECURE = WEBAPP_ORIGIN.startsWith('https:')
// The page may load and call nothing else, so that injected code cannot send the token elsewhere.
const POLICY = `default-src 'none'; script-src 'self'; frame-ancestors 'none'; connect-src 'self' ${[ANON_PUBLIC_URL, ...CONFIG.backends].join(' ')}`

// In memory, because this is an example: users sign in again after a restart.
const sessions = new Map()

let discovered
async function idp() {
  // Only the identity provider of the example is reached without TLS.
  const options = IDP_URL.startsWith('http://127.0.0.1:') ? { execute: [oidc.allowInsecureRequests] } : {}
  discovered ??= await oidc.discovery(new URL(IDP_URL), IDP_CLIENT_ID, undefined, oidc.None(), options)
  return discovered
}

const cookie = (value, seconds) =>
  `session=${value}; HttpOnly; SameSite=Lax; Path=/; Max-Age=${seconds}${SECURE ? '; Secure' : ''}`

const routes = {
  'GET /': (_, response) => sendFile(response, 'index.html', 'text/html'),
  'GET /app.mjs': (_, response) => sendFile(response, 'app.mjs', 'text/javascript'),
  'GET /config': (_, response) => sendJson(response, 200, CONFIG),
  'GET /linked': (_, response) => redirect(response, '/'),
  'GET /healthz': (_, response) => sendJson(response, 200, { status: 'ok' }),

  'GET /login': async (_, response) => {
    const session = { state: oidc.randomState(), nonce: oidc.randomNonce(), verifier: oidc.randomPKCECodeVerifier() }
    const url = oidc.buildAuthorizationUrl(await idp(), {
      redirect_uri: REDIRECT_URI,
      scope: 'openid',
      state: session.state,
      nonce: session.nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(session.verifier),
      code_challenge_method: 'S256',
    })
    startSession(response, session, 600)
    redirect(response, url.href)
  },

  'GET /callback': async (request, response) => {
    const pending = takeSession(request)
    if (!pending?.verifier) return redirect(response, '/login')
    // Validates the state, and signature, issuer, audience, expiry and nonce of the ID token.
    const tokens = await oidc.authorizationCodeGrant(await idp(), new URL(request.url, WEBAPP_ORIGIN), {
      expectedState: pending.state,
      expectedNonce: pending.nonce,
      pkceCodeVerifier: pending.verifier,
      idTokenExpected: true,
    })
    startSession(response, { appUserId: `user-${tokens.claims().sub}` }, 8 * 3600)
    redirect(response, '/')
  },

  'POST /logout': (request, response) => {
    takeSession(request)
    sendJson(response, 200, {}, { 'set-cookie': cookie('', 0) })
  },

  // An appUserIdToken for the user who is signed in.
  'POST /token': async (request, response) => {
    const appUserId = sessions.get(sessionId(request))?.appUserId
    if (!appUserId) return sendJson(response, 401, { error: 'unauthorized' })
    // Reads the file each time: the kubelet replaces it when the operator rotates the key.
    const apiKey = (await readFile(ANON_API_KEY_FILE, 'utf8')).trim()
    const reply = await fetch(`${ANON_API_URL}/org/appUserIdToken`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ appUserId, sdkClientId: ANON_CLIENT_ID }),
      redirect: 'error',
      signal: AbortSignal.timeout(5_000),
    })
    if (reply.ok) return sendJson(response, 200, { token: (await reply.json()).appUserIdToken })
    // The user is revoked: a new token would be rejected, too.
    if (reply.status === 422) return sendJson(response, 403, { error: 'forbidden' })
    throw new Error(`the API responded with status ${reply.status}`)
  },
}

const sessionId = (request) => /(?:^|; )session=([^;]+)/.exec(request.headers.cookie ?? '')?.[1]

function startSession(response, session, seconds) {
  const id = randomUUID()
  sessions.set(id, session)
  setTimeout(() => sessions.delete(id), seconds * 1000).unref()
  response.setHeader('set-cookie', cookie(id, seconds))
}

function takeSession(request) {
  const session = sessions.get(sessionId(request))
  sessions.delete(sessionId(request))
  return session
}

async function sendFile(response, name, type) {
  const text = await readFile(new URL(name, import.meta.url))
  response.writeHead(200, { 'content-type': type }).end(text)
}

const sendJson = (response, status, body, headers = {}) =>
  response.writeHead(status, { ...headers, 'content-type': 'application/json' }).end(JSON.stringify(body))
const redirect = (response, location) => response.writeHead(303, { location }).end()

createServer(async (request, response) => {
  response.setHeader('cache-control', 'no-store')
  response.setHeader('content-security-policy', POLICY)
  response.setHeader('referrer-policy', 'no-referrer')
  response.setHeader('x-content-type-options', 'nosniff')
  const route = routes[`${request.method} ${request.url.split('?')[0]}`]
  try {
    if (!route) return sendJson(response, 404, { error: 'not found' })
    await route(request, response)
  } catch (error) {
    console.error('cannot answer:', error.code ?? error.message)
    sendJson(response, 503, { error: 'unavailable' }, { 'retry-after': '1' })
  }
}).listen(Number(PORT), HOST)
