// What was said is changed: edited in its place, deleted with a while to undo it; in two browsers, and without a connection.
import assert from 'node:assert/strict'
import { Client } from './client.mjs'
import { test, until } from './harness.mjs'
import { findings } from './looks.mjs'

async function two(world) {
  const [ann, bob] = [await world.server.account('ann'), await world.server.account('bob')]
  const chat_id = await ann.chatWith(bob)
  await bob.post(chat_id, 'not mine')
  await ann.post(chat_id, 'frist')
  await ann.post(chat_id, 'last')
  const clients = [await Client.of(world, ann), await Client.of(world, bob)]
  await clients[0].open('bob')
  await clients[1].open('ann')
  return { ann, bob, chat_id, mine: clients[0], other: clients[1] }
}

const act = async (client, text, item) => {
  await client.message(text).hover()
  await client.page.getByRole('button', { name: 'More about this message' }).click()
  await client.page.getByRole('menuitem', { name: item, exact: true }).click()
}
const field = client => client.page.getByRole('textbox', { name: 'Edit message' })

test('a message is edited in its place, for both, and says that it was', async world => {
  const { mine, other } = await two(world)
  await mine.message('frist').hover()
  assert.deepEqual(await findings(mine.page, 'the bar on a message'), [])
  await mine.page.getByRole('button', { name: 'Edit', exact: true }).click()
  assert.equal(await field(mine).inputValue(), 'frist')
  assert.deepEqual(await findings(mine.page, 'editing'), [])
  await field(mine).fill('first')
  await field(mine).press('Enter')
  for (const client of [mine, other]) await client.log.getByTestId('content').getByText('first edited').waitFor()
  await until(async () => (await mine.page.evaluate(() => document.activeElement.getAttribute('aria-label'))) === 'Message')
  await other.page.reload()
  await other.isLive()
  await other.log.getByTestId('content').getByText('first edited').waitFor()
  assert.deepEqual(await other.texts(), ['not mine', 'first edited', 'last'])
})

test('the arrow up in the empty field edits the last message of one’s own, and Esc leaves it', async world => {
  const { mine, other } = await two(world)
  await mine.box.press('ArrowUp')
  assert.equal(await field(mine).inputValue(), 'last')
  await field(mine).fill('never said')
  await field(mine).press('Escape')
  await field(mine).waitFor({ state: 'detached' })
  assert.deepEqual(await mine.texts(), ['not mine', 'frist', 'last'])
  await mine.box.press('ArrowUp')
  await field(mine).fill('the last word')
  await field(mine).press('Enter')
  await other.room('ann').getByText('the last word').waitFor()
})

test('a deletion can be undone, and is erased for both when it is not', async world => {
  const { ann, chat_id, mine, other } = await two(world)
  await act(mine, 'frist', 'Delete')
  await mine.page.getByRole('button', { name: 'Undo' }).click()
  await mine.sees('frist')
  await act(mine, 'last', 'Delete')
  await mine.log.getByText('Message deleted').waitFor()
  await other.log.getByText('Message deleted').waitFor()
  assert.deepEqual((await ann.messages(chat_id)).map(message => message.content), ['not mine', 'frist'])
  assert.equal(await other.message('last').count(), 0)
  await mine.page.reload()
  await mine.isLive()
  await mine.log.getByText('Message deleted').waitFor()
  await mine.room('bob').getByText('frist').waitFor()
})

test('only what one may do to a message is offered', async world => {
  const { mine } = await two(world)
  await mine.message('not mine').hover()
  assert.equal(await mine.page.getByRole('button', { name: 'Edit', exact: true }).count(), 0)
  await mine.page.getByRole('button', { name: 'More about this message' }).click()
  assert.deepEqual(await mine.page.getByRole('menuitem', { name: /Edit|Delete/ }).count(), 0)
})

test('messages are gone through, edited and deleted by keyboard alone', async world => {
  const { mine, other } = await two(world)
  await mine.log.focus()
  await mine.page.keyboard.press('ArrowUp')
  await mine.page.keyboard.press('ArrowUp')
  await mine.page.keyboard.press('e')
  assert.equal(await field(mine).inputValue(), 'frist')
  await field(mine).fill('first')
  await field(mine).press('Enter')
  await other.log.getByText('first edited').waitFor()
  await mine.log.focus()
  await mine.page.keyboard.press('ArrowUp')
  await mine.page.keyboard.press('#')
  await mine.page.getByRole('button', { name: 'Undo' }).waitFor()
  await other.log.getByText('Message deleted').waitFor()
})

test('what is changed without a connection is changed once there is one, by the next page where need be', async world => {
  const { server } = world
  const { ann, chat_id, mine, other } = await two(world)
  await server.kill()
  await mine.page.locator('html:not([data-connection=live])').waitFor({ state: 'attached' })
  await mine.box.press('ArrowUp')
  await field(mine).fill('said offline')
  await field(mine).press('Enter')
  await mine.log.getByText('said offline edited').waitFor()
  await act(mine, 'frist', 'Delete')
  // A page that goes leaves nothing to undo.
  await mine.page.goto('about:blank')
  await server.again()
  await mine.page.goto(`/#/chat/${chat_id}`)
  await other.log.getByText('said offline edited').waitFor()
  await other.log.getByText('Message deleted').waitFor()
  const log = (await ann.call('GET', `/chat/${chat_id}/events?limit=100`)).events
  assert.deepEqual(log.filter(event => ['edit', 'delete'].includes(event.type)).map(event => event.type).sort(), ['delete', 'edit'])
})

test('a link to a message opens the room around it and lights it up', async world => {
  const { ann, chat_id, mine } = await two(world)
  await ann.flood(chat_id, 300, n => `number ${n}`)
  const seq = (await ann.messages(chat_id)).find(message => message.content === 'number 7').seq
  await mine.page.goto(`/#/chat/${chat_id}/${seq}`)
  await mine.page.reload()
  await mine.page.locator('.lit').getByText('number 7', { exact: true }).waitFor()
  await mine.page.goto(`/#/chat/${chat_id}/${seq + 200}`)
  await mine.page.locator('.lit').getByText('number 207', { exact: true }).waitFor()
})
