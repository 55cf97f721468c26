// natter.js by itself, in Node: what it promises about events and posts, whatever happens to the server.
import assert from 'node:assert/strict'
import { PATIENCE_MS, test, until } from './harness.mjs'
import { PASSWORD } from './server.mjs'
import { Natter, Session } from '../../src/ui/natter.js'

/** Everything that a Natter tells, and a way to wait for it. */
class Ear {
  heard = []
  #waiting = new Set()

  constructor(natter) {
    for (const type of ['state', 'event', 'reload', 'chats', 'posted', 'failed', 'read', 'typing', 'presence', 'draining', 'refused']) {
      natter.addEventListener(type, ({ detail }) => {
        this.heard.push({ told: type, ...detail })
        for (const look of this.#waiting) look()
      })
    }
  }

  of(type) {
    return this.heard.filter(one => one.told === type)
  }

  /** The first that fits, or that will. */
  async first(type, fits = () => true) {
    await this.until(() => this.of(type).some(fits), `${type} ${fits}`)
    return this.of(type).find(fits)
  }

  until(holds, what = holds) {
    return new Promise((done, fail) => {
      const told = () => this.heard.map(one => JSON.stringify(one)).slice(-20).join('\n')
      const timer = setTimeout(() => fail(new Error(`in vain waited for ${what}; told last:\n${told()}`)), PATIENCE_MS)
      const look = () => {
        if (!holds()) return
        clearTimeout(timer)
        this.#waiting.delete(look)
        done()
      }
      this.#waiting.add(look)
      look()
    })
  }
}

const followers = []
async function follow(server, username, options = {}) {
  const session = new Session({ server: server.url, ...options.session })
  await session.signIn(username, PASSWORD)
  const natter = new Natter(session, options)
  const ear = new Ear(natter)
  followers.push(natter)
  const live = async () => ear.until(() => natter.state === 'live', 'live')
  if (options.connect !== false) {
    natter.connect()
    await live()
  }
  return { session, natter, ear, live }
}

function quietly(act) {
  return async world => {
    try {
      await act(world)
    } finally {
      for (const natter of followers.splice(0)) natter.close()
    }
  }
}
const check = (name, act, options) => test(name, quietly(act), options)

const seqs = events => events.map(event => event.seq)
const contents = messages => messages.map(message => message.content)
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => from + index)

check('the module tells every event once and in order, and loses no post, while the server is killed again and again', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const rooms = [await ann.chatWith(bob), await ann.group('tea', bob)]
  const a = await follow(server, 'ann')
  const b = await follow(server, 'bob')
  const began = a.natter.cursors()
  const posts = []
  for (let round = 0; round < 4; round++) {
    const first = posts.length
    for (let n = 0; n < 40; n++) posts.push(b.natter.post(rooms[n % 2], `${posts.length}`))
    await posts[first + 10]
    await server.kill()
    for (let n = 0; n < 10; n++) posts.push(b.natter.post(rooms[n % 2], `${posts.length}`))
    await server.again()
    for (const { natter, live } of [a, b]) {
      natter.connect()
      await live()
    }
  }
  const answers = await Promise.all(posts)
  assert.deepEqual(b.natter.pending(), [])
  for (const [index, room] of rooms.entries()) {
    const { head_seq } = await ann.call('GET', `/chat/${room}?limit=1`)
    for (const { ear } of [a, b]) {
      await ear.first('event', event => event.chat_id === room && event.seq === head_seq)
      assert.deepEqual(seqs(ear.of('event').filter(event => event.chat_id === room)), numbers(began[room].since + 1, head_seq))
    }
    const written = posts.map((_, n) => `${n}`).filter(n => (n % 50) % 2 === index)
    assert.deepEqual(contents(await ann.messages(room)), written, 'each post once, in the order in which it was written')
  }
  assert.ok(answers.every(answer => answer.message_id && answer.seq && answer.sent_at))
  assert.equal(b.ear.of('posted').length, posts.length)
  assert.deepEqual(b.ear.of('failed'), [])
})

check('posts written before the first connection arrive once it stands', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  const { natter, live } = await follow(server, 'ann', { connect: false })
  const posts = ['one', 'two'].map(text => natter.post(room, text))
  assert.deepEqual(contents(natter.pending()), ['one', 'two'])
  natter.connect()
  await live()
  const [one, two] = await Promise.all(posts)
  assert.ok(one.seq < two.seq)
  assert.deepEqual(contents(await bob.messages(room)), ['one', 'two'])
})

check('posts that are too fast for the server wait, and keep their order', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  const { natter, ear } = await follow(server, 'ann')
  const texts = numbers(1, 12).map(String)
  await Promise.all(texts.map(text => natter.post(room, text)))
  assert.deepEqual(contents(await bob.messages(room)), texts)
  assert.deepEqual(ear.of('failed'), [])
}, { settings: { 'limits.rates': 'on', 'limits.posts_per_sec': 5, 'limits.posts_burst': 3 } })

check('a post that is refused for good fails, and those after it are sent', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.group('tea', bob)
  await ann.call('PATCH', `/chat/${room}/members/bob`, { role: 'reader' })
  const a = await follow(server, 'ann')
  const b = await follow(server, 'bob')
  await assert.rejects(b.natter.post(room, 'not allowed'), { name: 'Refusal', code: 'read_only' })
  const failed = await b.ear.first('failed')
  assert.equal(failed.content, 'not allowed')
  const [long, huge, next] = [a.natter.post(room, 'x'.repeat(5_000)), a.natter.post(room, 'x'.repeat(70_000)), a.natter.post(room, 'fine')]
  await assert.rejects(long, { code: 'validation_error' })
  await assert.rejects(huge, { code: 'too_large' })
  assert.equal((await next).duplicate, false)
  const nowhere = a.natter.post('01a203f3-ee11-703e-85a5-ea5bab8e7b13', 'nobody hears')
  await assert.rejects(nowhere, { code: 'chat_not_found' })
  assert.equal(a.natter.state, 'live')
})

check('the same client_id is the same message', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  await ann.post(room, 'hello', 'hello-1')
  const { natter } = await follow(server, 'ann')
  const posts = [natter.post(room, 'hello', { client_id: 'hello-1' }), natter.post(room, 'hello', { client_id: 'hello-1' })]
  assert.equal(posts[0], posts[1], 'while it has no answer it is one post')
  assert.equal((await posts[0]).duplicate, true)
  await assert.rejects(natter.post(room, 'another text', { client_id: 'hello-1' }))
  assert.deepEqual(contents(await bob.messages(room)), ['hello'])
})

check('rooms come and go while connected and while away', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const tea = await ann.group('tea', bob)
  const { natter, ear, live } = await follow(server, 'bob')
  assert.deepEqual(ear.of('chats'), [], 'what was there before is no news')
  const cake = await ann.group('cake', bob)
  await ear.first('chats', told => told.chat_id === cake && told.change === 'added')
  await ann.post(cake, 'with cream')
  await ear.first('event', event => event.content === 'with cream')
  await ann.call('DELETE', `/chat/${tea}/members/bob`)
  await ear.first('chats', told => told.chat_id === tea && told.change === 'removed')

  natter.close()
  await ann.call('DELETE', `/chat/${cake}/members/bob`)
  await ann.call('POST', `/chat/${tea}/members`, { username: 'bob' })
  natter.connect()
  await live()
  await ear.first('chats', told => told.chat_id === cake && told.change === 'removed')
  await ear.until(() => ear.of('chats').filter(told => told.chat_id === tea && told.change === 'added').length === 1)
  await ann.post(tea, 'back again')
  await ear.first('event', event => event.content === 'back again')
})

check('what follows a loaded history has no hole, however long it took to load', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  for (const text of ['3', '4', '5']) await ann.post(room, text)
  const { natter, ear } = await follow(server, 'bob')
  await ann.post(room, '6')
  await ear.first('event', event => event.content === '6')
  natter.seen(room, 4)
  await ear.until(() => ear.of('event').length === 3)
  assert.deepEqual(seqs(ear.of('event')), [6, 5, 6], 'a cursor that goes back is told all that follows it')
  natter.seen(room, 5)
  natter.seen(room, 7)
  await ann.post(room, '7')
  await ann.post(room, '8')
  await ear.first('event', event => event.content === '8')
  assert.deepEqual(seqs(ear.of('event')), [6, 5, 6, 8], 'what was seen is not told')
})

check('a room whose log is another one is loaded anew', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  const { natter, ear, live } = await follow(server, 'ann', { connect: false })
  natter.seen(room, 2, 'of another log')
  natter.connect()
  await live()
  const { head, epoch } = await ear.first('reload', told => told.chat_id === room)
  assert.equal(head, 2)
  await ann.post(room, 'goes on')
  await ear.first('event', event => event.seq === 3)
  assert.deepEqual(natter.cursors()[room], { since: 3, epoch })
})

check('more cursors than fit into a frame go in several, without a hole', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const rooms = []
  for (let n = 0; n < 40; n++) rooms.push(await ann.group(`room ${n}`, bob))
  const { natter, ear, live } = await follow(server, 'bob')
  natter.close()
  for (const room of rooms) for (const text of ['a', 'b']) await ann.post(room, text)
  natter.connect()
  await live()
  for (const room of rooms) await ann.post(room, 'c')
  await ear.until(() => ear.of('event').length >= 120)
  for (const room of rooms) assert.deepEqual(contents(ear.of('event').filter(event => event.chat_id === room)), ['a', 'b', 'c'])
  assert.equal(ear.of('event').length, 120)
}, { settings: { 'sockets.frame_bytes': 2048, 'limits.message_chars': 10 } })

check('a server that stands still is noticed, and what was posted arrives once', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  const { natter, ear, live } = await follow(server, 'ann', { patience: 400 })
  server.freeze()
  const post = natter.post(room, 'into the void')
  await ear.first('state', told => told.state === 'waiting')
  server.thaw()
  natter.connect()
  await live()
  await post
  assert.deepEqual(contents(await bob.messages(room)), ['into the void'])
})

check('a server that stops for maintenance is come back to', async ({ server }) => {
  const ann = await server.account('ann')
  const { natter, ear, live } = await follow(server, 'ann')
  await server.stop()
  const { code, retryAt } = await ear.first('state', told => told.state === 'waiting')
  assert.equal(code, 1012)
  assert.ok(retryAt - Date.now() <= 5_000)
  await server.again()
  natter.connect()
  await live()
  assert.equal(natter.me.username, ann.username)
})

check('the token is renewed on the open socket before it ends', async ({ server }) => {
  await server.account('ann')
  const items = new Map()
  const storage = { getItem: key => items.get(key) ?? null, setItem: (key, text) => items.set(key, text), removeItem: key => items.delete(key) }
  const { session, natter, ear } = await follow(server, 'ann', { session: { storage }, patience: 200 })
  const { connection_id } = natter.me
  const before = await session.token()
  // Two tokens of one second are the same.
  const second = () => Math.floor(Date.now() / 1000)
  const signedIn = second()
  await until(() => second() > signedIn)
  const login = JSON.parse(items.get('natter.session'))
  items.set('natter.session', JSON.stringify({ ...login, renew: 0 }))
  // The next frames that the socket sends are pings or the new token.
  const answered = new Promise(done => {
    const { send } = WebSocket.prototype
    WebSocket.prototype.send = function (text) {
      this.addEventListener('message', ({ data }) => JSON.parse(data).type === 'authed' && done(text))
      send.call(this, text)
      if (JSON.parse(text).type === 'auth') WebSocket.prototype.send = send
    }
  })
  const token = JSON.parse(await answered).token
  assert.notEqual(token, before)
  assert.equal(token, await session.token())
  assert.equal(natter.me.connection_id, connection_id)
  assert.equal(natter.state, 'live')
  assert.deepEqual(ear.of('refused'), [])
})

check('a login that is ended says so, and what was unsent goes with the next login of the same user', async ({ server }) => {
  const [root, ann, bob] = [await server.admin('root'), await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  const { session, natter, ear, live } = await follow(server, 'ann')
  const told = new Promise(done => session.addEventListener('signedout', ({ detail }) => done(detail), { once: true }))
  await root.call('POST', '/users/ann/disable')
  assert.deepEqual(await told.then(({ reason, user }) => [reason, user.username]), ['revoked', 'ann'])
  await ear.first('state', told => told.state === 'closed' && told.reason === 'signedout')
  assert.equal(session.signedIn, false)
  await assert.rejects(session.call('GET', '/users/me'), { status: 401, code: 'signed_out' })
  await root.call('POST', '/users/ann/enable')
  await session.signIn('ann', PASSWORD)
  natter.connect()
  await live()
  await natter.post(room, 'here again')
  assert.deepEqual(contents(await bob.messages(room)), ['here again'])
})

check('signing out ends the login on the server and gives up what was unsent', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  const { session, natter } = await follow(server, 'ann')
  const token = await session.token()
  natter.close()
  const post = natter.post(room, 'never mind')
  natter.connect()
  await session.signOut()
  await assert.rejects(post, { code: 'signed_out' })
  await assert.rejects(server.request('GET', '/users/me', undefined, token), { status: 401 })
  assert.deepEqual(await bob.messages(room), [])
})

check('refusals are sentences, with the field that is wrong', async ({ server }) => {
  const session = new Session({ server: server.url })
  await session.signUp('ann', PASSWORD)
  const refusal = await session.signUp('bob', 'short').catch(refusal => refusal)
  assert.equal(refusal.status, 422)
  assert.match(refusal.fields.password, /8/)
  assert.ok(refusal.requestId)
  await assert.rejects(session.signUp('ann', PASSWORD), { status: 400, message: 'User already exists' })
  await assert.rejects(session.signIn('ann', 'wrong-password'), { status: 401, code: 'wrong_credentials' })
  await server.kill()
  await assert.rejects(session.signIn('ann', PASSWORD), { status: 0, code: 'offline', message: /cannot be reached/ })
})

check('read marks reach the server, also those made while away, and typing reaches the others', async ({ server }) => {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  await bob.post(room, 'here I am')
  for (const text of ['one', 'two', 'three']) await ann.post(room, text)
  const a = await follow(server, 'ann')
  const b = await follow(server, 'bob')
  b.natter.typing(room)
  await a.ear.first('typing', told => told.username === 'bob')
  b.natter.read(room, 5)
  await a.ear.first('read', told => told.username === 'bob' && told.read_seq === 5)
  b.natter.close()
  b.natter.read(room, 6)
  b.natter.connect()
  await a.ear.first('read', told => told.username === 'bob' && told.read_seq === 6)
  const { chats } = await bob.call('GET', '/chat/my-chats')
  assert.equal(chats[0].unread, 0)
})
