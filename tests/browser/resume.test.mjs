// The client while its server or its network is away: nothing is lost, nothing is shown twice.
import assert from 'node:assert/strict'
import { Client } from './client.mjs'
import { test, until } from './harness.mjs'

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => `message ${from + index}`)

async function twoAt(world) {
  const [ann, bob] = [await world.server.account('ann'), await world.server.account('bob')]
  const room = await ann.chatWith(bob)
  const [a, b] = [await Client.of(world, ann), await Client.of(world, bob)]
  await a.open('bob')
  await b.open('ann')
  return { ann, bob, room, a, b }
}

test('after a server was killed nothing is lost and nothing is doubled on the screen', async world => {
  const { server } = world
  const { ann, room, a, b } = await twoAt(world)
  for (const text of range(1, 5)) await a.say(text)
  await b.sees('message 5')
  await server.kill()
  await a.page.getByTestId('connection').waitFor()
  for (const text of range(6, 8)) await a.say(text)
  await a.message('message 8').and(a.page.locator('[data-state=sending]')).waitFor()
  await server.again()
  for (const client of [a, b]) await client.isLive()
  await a.hasSent('message 8')
  // What came while the one was back and the other was not, and what comes now.
  await ann.post(room, 'message 9')
  await server.kill()
  await server.again()
  await ann.post(room, 'message 10')
  for (const client of [a, b]) {
    await client.sees('message 10')
    await client.shows(range(1, 10))
  }
  assert.deepEqual((await ann.messages(room)).map(message => message.content), range(1, 10))
  for (const client of [a, b]) {
    await client.page.reload()
    await client.isLive()
    await client.shows(range(1, 10))
  }
})

test('what is written offline arrives once, and in order', async world => {
  const { bob, room, a, b } = await twoAt(world)
  const context = a.page.context()
  await context.setOffline(true)
  for (const text of range(1, 3)) await a.say(text)
  await context.setOffline(false)
  for (const text of range(1, 3)) await a.hasSent(text)
  await b.shows(range(1, 3))
  await a.shows(range(1, 3))
  assert.deepEqual((await bob.messages(room)).map(message => message.content), range(1, 3))
})

test('a message that the server took without being able to say so is shown once', async world => {
  const { server } = world
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  let isDeaf = false
  const prepare = context => context.routeWebSocket(/\/ws$/, socket => {
    const onward = socket.connectToServer()
    onward.onMessage(frame => isDeaf || socket.send(frame))
  })
  const [a, b] = [await Client.of(world, ann, { prepare }), await Client.of(world, bob)]
  await a.open('bob')
  await b.open('ann')
  isDeaf = true
  await a.say('message 1')
  await b.sees('message 1')
  await a.message('message 1').and(a.page.locator('[data-state=sending]')).waitFor()
  await a.say('message 2')
  await server.kill()
  isDeaf = false
  await server.again()
  await a.hasSent('message 2')
  await a.shows(range(1, 2))
  await b.shows(range(1, 2))
  assert.deepEqual((await bob.messages(room)).map(message => message.content), range(1, 2))
})

test('a message that the server refuses is marked, and can be tried again or discarded', async world => {
  const { server } = world
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.group('tea', bob)
  const b = await Client.of(world, bob)
  await b.open('tea')
  await server.kill()
  for (const text of ['first', 'second']) await b.say(text)
  // The page must not be back before it may no longer post.
  await b.page.context().setOffline(true)
  await server.again()
  await ann.call('PATCH', `/chat/${room}/members/bob`, { role: 'reader' })
  await b.page.context().setOffline(false)
  const failed = text => b.message(text).and(b.page.locator('[data-state=failed]'))
  await failed('first').waitFor()
  await failed('second').waitFor()
  await ann.call('PATCH', `/chat/${room}/members/bob`, { role: 'member' })
  await b.box.waitFor()
  await failed('first').getByRole('button', { name: 'Try again' }).click()
  await b.hasSent('first')
  await failed('second').getByRole('button', { name: 'Discard' }).click()
  const dialog = b.page.getByRole('dialog')
  await until(async () => (await dialog.count()) || !(await b.message('second').count()))
  if (await dialog.count()) await dialog.getByRole('button', { name: 'Discard' }).click()
  await b.shows(['first'])
  assert.deepEqual((await ann.messages(room)).map(message => message.content), ['first'])
})

test('signing out in one tab signs out the others', async world => {
  const ann = await world.server.account('ann')
  const one = await Client.of(world, ann)
  const two = new Client(await one.page.context().newPage())
  await two.page.goto('/')
  await two.isLive()
  await one.signOut()
  await two.page.getByRole('main', { name: 'Sign in' }).waitFor()
  await two.signIn('ann')
  await one.isLive()
})

test('who is disabled is signed out at once and told so', async world => {
  const root = await world.server.admin('root')
  const client = await Client.of(world, await world.server.account('ann'))
  await root.call('POST', '/users/ann/disable')
  await client.page.getByRole('main', { name: 'Sign in' }).waitFor()
  await client.page.getByText(/sign in again/i).waitFor()
})
