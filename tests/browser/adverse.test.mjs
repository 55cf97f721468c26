// The client where things are not as a page would like them: storage that does not keep, a clock that is set back, an input
// method in every field, a proxy that lets no socket through.
import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { Client } from './client.mjs'
import { test, until } from './harness.mjs'
import { PASSWORD } from './server.mjs'

const STORAGES = {
  'refuses everything': () => { Storage.prototype.setItem = () => { throw new DOMException('no room', 'QuotaExceededError') } },
  'takes everything and keeps nothing': () => { Storage.prototype.setItem = () => {} },
  'cannot be read': () => Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } }),
  'is not there': () => Object.defineProperty(window, 'localStorage', { value: null }),
}
for (const [what, script] of Object.entries(STORAGES)) {
  test(`a browser whose storage ${what} is signed in and writes for as long as the page is there`, async world => {
    await world.server.account('bob')
    await world.server.account('ann')
    const client = new Client(await world.page({ prepare: context => context.addInitScript(script) }))
    await client.signIn('ann')
    await client.privateChat('bob')
    await client.box.fill('it arrives')
    await client.box.press('Enter')
    await until(async () => (await client.texts())[0] === 'it arrives')
    // What is not sent yet is kept by the page as well as it can be.
    await client.box.fill('a draft')
    await client.page.getByTestId('room').first().click()
    assert.equal(await client.box.inputValue(), 'a draft')
  })
}

test('storage that another tab has filled with nonsense is as good as none', async world => {
  const ann = await world.server.account('ann')
  const prepare = context => context.addInitScript(() => {
    if (!location.host || window.name) return
    window.name = 'filled'
    for (const key of ['session', 'theme', 'notify', 'outbox.x']) localStorage.setItem(`natter.${key}`, key === 'theme' ? 'null' : '7')
  })
  const client = new Client(await world.page({ prepare }))
  await client.signIn(ann.username)
})

test('no key of an input method does anything in any field', async world => {
  const { server } = world
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const chat = await ann.group('tea', bob)
  const client = await Client.of(world, ann)
  const { page } = client
  await client.open('tea')
  const compose = locator => locator.evaluate(field => {
    const undone = []
    for (const key of ['Enter', 'Escape', 'ArrowDown', 'Backspace', 'PageUp', '?']) {
      for (const marks of [{ isComposing: true, keyCode: 13 }, { keyCode: 229 }]) {
        const event = new KeyboardEvent('keydown', { key, ...marks, bubbles: true, cancelable: true })
        if (!field.dispatchEvent(event)) undone.push(key)
      }
    }
    return undone
  })
  await client.box.fill('日本')
  assert.deepEqual(await compose(client.box), [])
  assert.equal(await client.box.inputValue(), '日本')

  await page.getByRole('button', { name: 'Emoji' }).click()
  const emoji = page.getByRole('dialog', { name: 'Emoji' })
  assert.deepEqual(await compose(emoji.locator('input')), [])
  assert.ok(await emoji.isVisible())
  assert.equal(await client.box.inputValue(), '日本')
  await page.keyboard.press('Escape')

  await page.keyboard.press('Control+k')
  const go = page.getByRole('combobox', { name: 'Go to chat' })
  await go.fill('bob')
  await page.getByRole('option', { name: 'bob' }).waitFor()
  assert.deepEqual(await compose(go), [])
  assert.ok(await go.isVisible())
  await page.keyboard.press('Escape')

  await page.getByRole('button', { name: 'New chat' }).first().click()
  const find = page.getByRole('combobox', { name: 'Find people' })
  await find.fill('bob')
  await page.getByRole('option', { name: 'bob' }).waitFor()
  assert.deepEqual(await compose(find), [])
  assert.ok(await find.isVisible())
  await page.keyboard.press('Escape')

  await client.box.press('Enter')
  await until(async () => (await client.texts())[0] === '日本')
  // Shown before it is stored: once it is, it is the only one.
  await until(async () => (await ann.call('GET', `/chat/${chat}`)).messages.length === 1, 'the message to be stored once')
})

test('a clock that is set back or ahead holds nothing up', async world => {
  const { server } = world
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const chat = await ann.group('tea', bob)
  const prepare = context => context.addInitScript(() => {
    if (!location.host) return
    const real = Date.now
    let shift = Number(localStorage.getItem('shift') ?? 0)
    Date.now = () => real() + shift
    window.setClock = millis => localStorage.setItem('shift', String(shift = millis))
  })
  const client = await Client.of(world, ann, { prepare })
  const { page } = client
  await client.open('tea')
  let number = 0
  for (const hours of [-30, 30, -1, 0]) {
    await page.evaluate(millis => window.setClock(millis), hours * 3_600_000)
    for (const how of ['goes on', 'reloaded', 'reconnected']) {
      if (how === 'reloaded') await page.reload()
      if (how === 'reconnected') {
        await server.kill()
        await server.again()
      }
      await client.isLive()
      const text = `${++number}: ${hours} h, ${how}`
      await client.box.fill(text)
      await client.box.press('Enter')
      await until(async () => (await bob.call('GET', `/chat/${chat}`)).messages.at(-1)?.content === text, text)
    }
  }
}, { timeout: 120_000 })

test('without Web Locks a login is renewed though a tab that is gone locked it with a clock that was ahead', async world => {
  const ann = await world.server.account('ann')
  const prepare = context => context.addInitScript(() => {
    Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })
    // Waiting is made short: what is tested is that it ends.
    const real = performance.now.bind(performance)
    performance.now = () => real() * 40
  })
  const page = await world.pageOf(ann, { prepare })
  const token = await page.evaluate(async () => {
    localStorage.setItem('natter.session.lock', `gone ${Date.now() + 86_400_000}`)
    const { Session } = await import('/natter.js')
    return new Session().token(true)
  })
  assert.ok(token)
})

/** In front of the server: passes requests on, and treats upgrades as `upgrade` says. */
async function proxy(server, upgrade) {
  const { hostname, port } = new URL(server.url)
  const proxy = http.createServer((request, answer) => {
    const { method, url: path, headers } = request
    const on = http.request({ hostname, port, method, path, headers }, from => {
      answer.writeHead(from.statusCode, from.headers)
      from.pipe(answer)
    })
    on.on('error', () => answer.destroy())
    request.pipe(on)
  })
  const sockets = new Set()
  proxy.on('connection', socket => sockets.add(socket))
  proxy.on('upgrade', (request, socket) => upgrade(socket, request, () => net.connect(port, hostname)))
  await new Promise(done => proxy.listen(0, '127.0.0.1', done))
  const end = () => {
    sockets.forEach(socket => socket.destroy())
    proxy.close()
  }
  return { url: `http://127.0.0.1:${proxy.address().port}`, end }
}

test('a proxy that lets no WebSocket through is told of, with what to do, and what was written arrives once it does', async world => {
  const { server } = world
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  await ann.group('tea', bob)
  let blocks = true
  const { url, end } = await proxy(server, (socket, request, connect) => {
    if (blocks) return socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    const on = connect()
    const lines = [`${request.method} ${request.url} HTTP/1.1`]
    for (let n = 0; n < request.rawHeaders.length; n += 2) lines.push(`${request.rawHeaders[n]}: ${request.rawHeaders[n + 1]}`)
    on.write(lines.join('\r\n') + '\r\n\r\n')
    on.pipe(socket).pipe(on)
    for (const side of [on, socket]) side.on('error', () => {})
  })
  try {
    world.allowed.add(new URL(url).host)
    const context = await world.context({ baseURL: url })
    const page = await context.newPage()
    await page.goto(`${url}/`)
    await page.getByLabel('Username').fill('ann')
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    const banner = page.getByTestId('connection')
    await until(async () => /blocks WebSockets.*\/ws/s.test(await banner.textContent()), 'the page to say what it saw')
    blocks = false
    await page.locator('html[data-connection=live]').waitFor({ state: 'attached' })
    await until(() => banner.isHidden())
  } finally {
    end()
  }
})
