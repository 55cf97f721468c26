// People talking: from signing up to groups, and what they see of each other.
import assert from 'node:assert/strict'
import { Client } from './client.mjs'
import { test, until } from './harness.mjs'

test('two people sign up and talk', async ({ page }) => {
  const [ann, bob] = [new Client(await page()), new Client(await page())]
  await ann.signUp('ann')
  await bob.signUp('bob')
  await ann.privateChat('bob')
  await ann.say('Hello, Bob')
  await ann.hasSent('Hello, Bob')
  assert.equal(await ann.box.inputValue(), '')

  await bob.room('ann').waitFor()
  await until(async () => (await bob.unread('ann')) === 1, 'one unread message')
  assert.match(await bob.page.title(), /1/, 'the tab says that something is unread')
  await bob.open('ann')
  await bob.sees('Hello, Bob')
  await until(async () => (await bob.unread('ann')) === 0, 'nothing unread')

  await bob.box.pressSequentially('Hello')
  await ann.page.getByTestId('typing').getByText('bob is typing').waitFor()
  await bob.say('Hello, Ann')
  await ann.sees('Hello, Ann')
  await ann.shows(['Hello, Bob', 'Hello, Ann'])
  await ann.room('bob').getByTestId('preview').getByText('Hello, Ann').waitFor()
  // Now that bob has written, it is shown what he reads.
  await ann.say('How are you?')
  await ann.page.getByTestId('receipt').getByText('Read').waitFor()
})

test('groups, roles and removal are seen live', async world => {
  const { server } = world
  const [ann, bob, cleo] = await Promise.all(['ann', 'bob', 'cleo'].map(async name => {
    return Client.of(world, await server.account(name))
  }))
  await ann.group('Tea party', 'bob', 'cleo')
  for (const client of [bob, cleo]) await client.open('Tea party')
  await ann.say('Who brings the cake?')
  await bob.sees('Who brings the cake?')
  await cleo.sees('Who brings the cake?')

  const member = (client, name) => client.page.locator(`[data-testid=member][data-username=${name}]`)
  for (const client of [ann, bob]) await client.members()
  await ann.choose('Manage bob', 'Reader', 'menuitemradio')
  await bob.page.getByTestId('read-only').waitFor()
  await bob.page.locator('[data-testid=member][data-username=bob][data-role=reader]').waitFor()
  assert.equal(await bob.box.isVisible(), false, 'a reader cannot write')
  await ann.choose('Manage bob', 'Moderator', 'menuitemradio')
  await bob.box.waitFor()
  await bob.page.getByRole('button', { name: 'Add people' }).waitFor()

  await ann.choose('Chat menu', 'Rename group')
  const dialog = ann.page.getByRole('dialog', { name: 'Rename group' })
  await dialog.getByRole('textbox', { name: 'Group name' }).fill('Cake party')
  await dialog.getByRole('button', { name: 'Rename' }).click()
  for (const client of [ann, bob, cleo]) await client.page.getByRole('heading', { level: 1, name: 'Cake party' }).waitFor()

  await bob.choose('Manage cleo', 'Remove from group')
  await bob.page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click()
  await cleo.room('Cake party').waitFor({ state: 'detached' })
  await cleo.page.getByRole('log', { name: 'Messages' }).waitFor({ state: 'hidden' })
  await member(ann, 'cleo').waitFor({ state: 'detached' })
  await ann.say('Cleo is gone')
  await bob.sees('Cleo is gone')
  assert.equal(await cleo.page.getByText('Cleo is gone').count(), 0)

  await ann.page.getByRole('button', { name: 'Add people' }).click()
  const adding = ann.page.getByRole('dialog', { name: 'Add people' })
  await adding.getByRole('combobox', { name: 'Find people' }).fill('cleo')
  await adding.getByRole('option', { name: 'cleo' }).click()
  await adding.getByRole('button', { name: 'Add', exact: true }).click()
  await cleo.open('Cake party')
  await cleo.sees('Cleo is gone')

  await bob.choose('Chat menu', 'Leave group')
  await bob.page.getByRole('dialog').getByRole('button', { name: 'Leave' }).click()
  await bob.room('Cake party').waitFor({ state: 'detached' })
  await member(ann, 'bob').waitFor({ state: 'detached' })
})

test('who is online and what is unread is seen in the list, with the latest chat first', async world => {
  const [ann, bob, cleo] = [await world.server.account('ann'), await world.server.account('bob'), await world.server.account('cleo')]
  const [withBob, withCleo] = [await ann.chatWith(bob), await ann.chatWith(cleo)]
  const client = await Client.of(world, ann)
  const order = () => client.page.getByTestId('room').evaluateAll(rooms => rooms.map(room => room.dataset.chat))
  await bob.post(withBob, 'one')
  await bob.post(withBob, 'two')
  await until(async () => (await client.unread('bob')) === 2 && (await order())[0] === withBob)
  await cleo.post(withCleo, 'three')
  await until(async () => (await client.unread('cleo')) === 1 && (await order())[0] === withCleo)
  const dot = here => client.room('bob').locator(`[data-testid=dot][data-here=${here}]`).waitFor()
  await dot('offline')
  const other = await Client.of(world, bob)
  await dot('online')
  await other.page.close()
  await dot('offline')
}, { settings: { 'presence.ttl_secs': 1 } })

test('a draft stays in its room, and a person is told what went wrong in words', async world => {
  const { server } = world
  const [ann, bob, cleo] = [await server.account('ann'), await server.account('bob'), await server.account('cleo')]
  await ann.chatWith(bob)
  await ann.chatWith(cleo)
  const client = await Client.of(world, ann)
  await client.open('bob')
  await client.box.fill('half a thought')
  await client.open('cleo')
  assert.equal(await client.box.inputValue(), '')
  await client.page.reload()
  await client.isLive()
  await client.open('bob')
  assert.equal(await client.box.inputValue(), 'half a thought')

  await client.signOut()
  await client.page.getByLabel('Username').fill('ann')
  await client.page.getByLabel('Password', { exact: true }).fill('not-her-password')
  await client.page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await client.page.getByRole('alert').getByText('Incorrect username or password').waitFor()
})
