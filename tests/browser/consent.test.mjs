// People own their attention, in the page: invitations, hidden chats, blocks.
import assert from 'node:assert/strict'
import { Client } from './client.mjs'
import { test, until } from './harness.mjs'
import { findings } from './looks.mjs'

/** A group of ann's that bob left and is invited to again. */
async function invited(server) {
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const chat_id = await ann.group('Tea', bob)
  const invite = () => ann.call('POST', `/chat/${chat_id}/members`, { username: 'bob' })
  await bob.call('DELETE', `/chat/${chat_id}/members/bob`)
  return { ann, bob, chat_id, invite }
}

test('an invitation says who asks, comes without a reload, and is accepted by keyboard', async world => {
  const { ann, bob, chat_id, invite } = await invited(world.server)
  const client = await Client.of(world, bob)
  const { page } = client
  await invite()
  const asked = page.getByTestId('invitation')
  await asked.getByText('ann asks you to join Tea').waitFor()
  assert.deepEqual(await findings(page, 'an invitation'), [])
  assert.equal(await page.getByTestId('room').count(), 0, 'nothing of the group is told before')
  await page.getByRole('button', { name: 'Accept Tea' }).focus()
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { level: 1, name: 'Tea' }).waitFor()
  await asked.waitFor({ state: 'detached' })
  await ann.post(chat_id, 'welcome back')
  await client.sees('welcome back')
})

test('a declined invitation is gone, for who asked too, and does not come back by a reload', async world => {
  const { ann, bob, invite } = await invited(world.server)
  await invite()
  const client = await Client.of(world, bob)
  const { page } = client
  await page.getByRole('button', { name: 'Decline Tea' }).click()
  await page.getByTestId('invitation').waitFor({ state: 'detached' })
  await page.reload()
  await client.isLive()
  await page.getByText('No chats yet.').waitFor()
  const other = await Client.of(world, ann)
  await other.open('Tea')
  await other.log.getByText('bob declined').waitFor()
  await other.log.getByText('ann invited bob').waitFor()
})

test('a hidden private chat is away until somebody writes there', async world => {
  const [ann, bob] = [await world.server.account('ann'), await world.server.account('bob')]
  const chat_id = await ann.chatWith(bob)
  await ann.post(chat_id, 'first')
  const client = await Client.of(world, bob)
  const { page } = client
  await client.open('ann')
  await client.choose('Chat menu', 'Hide chat')
  await client.room('ann').waitFor({ state: 'detached' })
  await page.getByTestId('toasts').getByText('Hidden until the next message.').waitFor()
  assert.equal(await page.getByText('You are no longer in').count(), 0)
  await page.reload()
  await client.isLive()
  assert.equal(await client.room('ann').count(), 0)
  await ann.post(chat_id, 'second')
  await client.room('ann').waitFor()
})

test('who is blocked cannot write, reads why, and can once they are unblocked in the settings', async world => {
  const [ann, bob] = [await world.server.account('ann'), await world.server.account('bob')]
  await ann.chatWith(bob)
  const [blocker, blocked] = [await Client.of(world, ann), await Client.of(world, bob)]
  const { page } = blocker
  await blocker.open('bob')
  await blocked.open('ann')
  await blocker.choose('Chat menu', 'Block bob')
  await page.getByRole('dialog', { name: 'Block bob?' }).getByRole('button', { name: 'Block' }).click()
  await page.getByTestId('read-only').getByText('You have blocked bob.').waitFor()
  assert.deepEqual(await findings(page, 'a blocked chat'), [])
  await blocked.say('hello?')
  await blocked.log.getByText('"ann" takes no messages or invitations from you.').waitFor()

  await blocker.choose('Account menu', 'Profile and settings')
  const settings = page.getByRole('dialog', { name: 'Profile and settings' })
  await settings.getByTestId('blocked').getByText('bob').waitFor()
  assert.deepEqual(await findings(page, 'the list of blocked people'), [])
  await settings.getByRole('button', { name: 'Unblock bob' }).click()
  await settings.getByText('Nobody. Who is blocked').waitFor()
  await page.keyboard.press('Escape')
  await blocker.box.waitFor()
  await blocked.log.getByRole('button', { name: 'Try again' }).click()
  await blocker.sees('hello?')
  await until(async () => (await blocked.page.locator('[data-state=failed]').count()) === 0)
})

test('a chat with a deleted account says so and takes no message', async world => {
  const [ann, bob] = [await world.server.account('ann'), await world.server.account('bob')]
  const root = await world.server.admin('root')
  await ann.post(await ann.chatWith(bob), 'still here')
  await root.call('DELETE', '/users/bob', { messages: 'keep' })
  const client = await Client.of(world, ann)
  await client.open('deleted user')
  await client.sees('still here')
  await client.page.getByTestId('read-only').getByText('This account was deleted').waitFor()
  await client.page.getByRole('button', { name: 'Chat menu' }).click()
  assert.deepEqual(await client.page.getByRole('menuitem').allInnerTexts(), ['Hide chat'])
})
