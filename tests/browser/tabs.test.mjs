// natter.js in pages: several tabs of one browser, pages of other origins, and what only a browser does.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { once } from 'node:events'
import { test, until } from './harness.mjs'
import { PASSWORD } from './server.mjs'

/** A page of the server's origin without the client in it; `kit` is natter.js there, `session` its login. */
async function bare(context, options = {}) {
  const page = await context.newPage()
  await page.goto('/healthz')
  await page.evaluate(async options => {
    globalThis.kit = await import('/natter.js')
    globalThis.session = new kit.Session()
    globalThis.told = []
    for (const type of ['signedin', 'signedout', 'token']) {
      session.addEventListener(type, ({ detail }) => told.push(detail?.reason ?? type))
    }
    globalThis.natter = new kit.Natter(session, { outbox: localStorage, ...options })
    globalThis.events = []
    natter.addEventListener('event', ({ detail }) => events.push(detail.content))
  }, options)
  return page
}

const signIn = (page, username) => page.evaluate(([username, password]) => session.signIn(username, password), [username, PASSWORD])
const live = page => page.evaluate(() => new Promise(done => {
  if (natter.state === 'live') return done()
  natter.addEventListener('state', ({ detail }) => detail.state === 'live' && done())
  natter.connect()
}))
const told = (page, what) => until(() => page.evaluate(what => told.includes(what), what), `the page to be told ${what}`)
const pending = page => page.evaluate(() => natter.pending().map(post => post.content))

/** Five tabs whose token is about to end all ask for one. */
async function renewTogether({ server, context }) {
  const browser = await context()
  let renewals = 0
  browser.on('request', request => request.url().endsWith('/token/refresh') && renewals++)
  const pages = []
  for (let n = 0; n < 5; n++) pages.push(await bare(browser))
  await signIn(pages[0], 'ann')
  for (let round = 1; round <= 3; round++) {
    await pages[0].evaluate(() => {
      const login = JSON.parse(localStorage.getItem('natter.session'))
      localStorage.setItem('natter.session', JSON.stringify({ ...login, renew: 0 }))
    })
    await Promise.all(pages.map(page => until(() => page.evaluate(() => JSON.parse(localStorage.getItem('natter.session')).renew === 0))))
    const tokens = await Promise.all(pages.map(page => page.evaluate(() => session.token())))
    assert.equal(new Set(tokens).size, 1)
    assert.equal(renewals, round)
    await server.request('GET', '/users/me', undefined, tokens[0])
  }
}

test('one tab renews the token for all', async world => {
  await world.server.account('ann')
  await renewTogether({ server: world.server, context: () => world.context() })
})

test('one tab renews the token for all, also where there are no Web Locks', async world => {
  await world.server.account('ann')
  await renewTogether({
    server: world.server,
    context: async () => {
      const context = await world.context()
      await context.addInitScript(() => Object.defineProperty(navigator, 'locks', { value: undefined }))
      return context
    },
  })
})

test('signing in and out in one tab reaches the others', async ({ server, context }) => {
  await server.account('ann')
  await server.account('bob')
  const browser = await context()
  const [one, two] = [await bare(browser), await bare(browser)]
  await signIn(one, 'ann')
  await told(two, 'signedin')
  await live(two)
  await signIn(one, 'bob')
  await told(two, 'elsewhere')
  assert.equal(await two.evaluate(() => natter.state), 'closed')
  await live(two)
  assert.equal(await two.evaluate(() => natter.me.username), 'bob')
  await one.evaluate(() => session.signOut())
  await until(() => two.evaluate(() => !session.signedIn && natter.state === 'closed'))
  assert.deepEqual(await two.evaluate(() => told), ['signedin', 'elsewhere', 'signedin', 'elsewhere'])
})

test('a post belongs to its tab while that lives, then to another, and arrives once', async ({ server, context }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  const browser = await context()
  const [one, two] = [await bare(browser), await bare(browser)]
  await signIn(one, 'ann')
  await told(two, 'signedin')
  await Promise.all([live(one), live(two)])
  await server.kill()
  for (const text of ['first', 'second']) await one.evaluate(([room, text]) => void natter.post(room, text), [room, text])
  await two.evaluate(room => void natter.post(room, 'third'), room)
  assert.deepEqual(await pending(two), ['third'])
  await one.close()
  await until(async () => (await pending(two)).length === 3)
  assert.deepEqual(await pending(two), ['first', 'second', 'third'], 'in the order in which they were written')
  await two.close()
  await server.again()
  const three = await bare(browser)
  await live(three)
  await until(async () => (await pending(three)).length === 0)
  const messages = await bob.messages(room)
  assert.deepEqual(messages.map(message => message.content).sort(), ['first', 'second', 'third'])
  assert.equal(await three.evaluate(() => Object.keys(localStorage).filter(key => key.startsWith('natter.outbox')).length), 0)
})

test('a page of a listed origin can use natter.js, one of another origin cannot sign in', async ({ server, anotherServer, context, allowed }) => {
  const pages = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>Elsewhere</title>'))
  await once(pages.listen(0, '127.0.0.1'), 'listening')
  const elsewhere = `http://127.0.0.1:${pages.address().port}`
  const open = await anotherServer({ 'server.allowed_origins': `["${elsewhere}"]` })
  for (const url of [elsewhere, open.url]) allowed.add(new URL(url).host)
  await open.account('ann')
  await server.account('ann')
  const page = await (await context()).newPage()
  await page.goto(elsewhere)
  const use = (server, password) => page.evaluate(async ([server, password]) => {
    const { Session, Natter } = await import(`${server}/natter.js`)
    const session = new Session({ server, key: server })
    const code = await session.signIn('ann', password).then(() => 'in', refusal => refusal.code)
    if (code !== 'in') return code
    const natter = new Natter(session)
    return new Promise(done => {
      natter.addEventListener('state', ({ detail }) => detail.state === 'live' && done(natter.me.username))
      natter.connect()
    })
  }, [server, password])
  assert.equal(await use(open.url, PASSWORD), 'ann')
  assert.equal(await use(server.url, PASSWORD), 'offline')
  pages.close()
})

test('a network that comes back is used at once', async ({ server, context }) => {
  const ann = await server.account('ann')
  const room = await ann.group('notes')
  const page = await bare(await context())
  await signIn(page, 'ann')
  await live(page)
  await server.kill()
  await page.evaluate(() => {
    // However long the wait would be, the event ends it.
    globalThis.random = Math.random
    Math.random = () => 1
  })
  await until(() => page.evaluate(() => natter.state === 'waiting'))
  await page.evaluate(room => void natter.post(room, 'sent'), room)
  await server.again()
  await page.evaluate(() => dispatchEvent(new Event('online')))
  await live(page)
  await until(() => page.evaluate(() => events.length === 1))
  assert.deepEqual(await page.evaluate(() => events), ['sent'])
})
