// The page: gets an appUserIdToken from its server, and calls the backends with it.
const element = (id) => document.getElementById(id)
const config = await (await fetch('/config')).json()
let token

// Keeps the token in memory only. Status 401: nobody is signed in; 403: the user is revoked.
async function renewToken() {
  const reply = await fetch('/token', { method: 'POST' })
  token = reply.ok ? (await reply.json()).token : undefined
  return reply.status
}

// Calls a backend. If the token is no longer valid, the request is repeated once with a new one, so
// that the user notices neither its expiry nor a new signing key.
async function call(backend, method, path) {
  const send = () => fetch(backend + path, { method, headers: { authorization: `Bearer ${token}` } })
  let reply = await send()
  if (reply.status === 401 && (await renewToken()) === 200) reply = await send()
  if (reply.ok) return reply.json()
  return { error: reply.status === 401 ? 'signed out' : 'not available, try again later' }
}

async function show(backend, item) {
  const text = (value) => item.append(` ${value}`)
  item.replaceChildren(backend)
  try {
    const me = await call(backend, 'GET', '/me')
    if (me.error) return text(me.error)
    text(me.appUserId)
    const link = await call(backend, 'POST', '/link')
    if (link.error) return text(link.error)
    const anchor = document.createElement('a')
    anchor.href = link.url
    anchor.textContent = 'Connect your calendar'
    item.append(' ', anchor)
  } catch {
    text('not reachable')
  } finally {
    item.dataset.done = 'true'
  }
}

async function load() {
  element('backends').replaceChildren()
  const status = token ? 200 : await renewToken()
  element('signed-in').hidden = status !== 200
  element('signed-out').hidden = status === 200
  element('status').textContent =
    { 200: 'Signed in', 401: 'Signed out', 403: 'Your access was revoked' }[status] ?? 'Not available, try again later'
  if (status !== 200) return
  const items = config.backends.map((backend) => {
    const item = element('backends').appendChild(document.createElement('li'))
    return [backend, item]
  })
  await Promise.all(items.map(([backend, item]) => show(backend, item)))
  // No new token was issued while the backends were asked.
  if (!token) await load()
}

element('reload').onclick = load
element('logout').onclick = async () => {
  await fetch('/logout', { method: 'POST' })
  token = undefined
  await load()
}

// Public data of the client, directly from the operator, which allows this origin (CORS).
fetch(`${config.apiUrl}/v1/clients/${config.clientId}`)
  .then((reply) => reply.json())
  .then((client) => (element('name').textContent = client.displayName))
  .catch(() => (element('name').textContent = 'This origin is not allowed'))
await load()
