// The whole client without a mouse.
import assert from 'node:assert/strict'
import { Client } from './client.mjs'
import { test, until } from './harness.mjs'
import { PASSWORD } from './server.mjs'

/** Goes on with Tab until the focus is on `locator`, as somebody does who sees where it is. */
async function tabTo(page, locator, key = 'Tab') {
  await locator.waitFor()
  const isThere = () => locator.evaluate(element => element === document.activeElement)
  for (let presses = 0; presses < 60; presses++) {
    if (await isThere()) return
    await page.keyboard.press(key)
  }
  assert.fail(`60 times ${key} do not lead to ${locator}`)
}

const isFocused = (locator, what) => until(() => locator.evaluate(element => element === document.activeElement), what ?? `the focus to be on ${locator}`)

test('everything can be done with the keyboard alone', async world => {
  const { server } = world
  const bob = await server.account('bob')
  const page = await world.page()
  const { keyboard } = page
  const client = new Client(page)
  const button = name => page.getByRole('button', { name, exact: true })

  await tabTo(page, button('Create an account'))
  await keyboard.press('Enter')
  await tabTo(page, page.getByLabel('Username'))
  await keyboard.type('ann')
  await tabTo(page, page.getByLabel('Password', { exact: true }))
  await keyboard.type(PASSWORD)
  await keyboard.press('Enter')
  await client.isLive()

  await tabTo(page, button('New chat').first())
  await keyboard.press('Enter')
  const finder = page.getByRole('combobox', { name: 'Find people' })
  await tabTo(page, finder)
  await keyboard.type('bob')
  await page.getByRole('option', { name: 'bob' }).waitFor()
  await keyboard.press('ArrowDown')
  await keyboard.press('Enter')
  await page.getByRole('heading', { level: 1, name: 'bob' }).waitFor()
  await isFocused(client.box)
  await keyboard.type('one line')
  await keyboard.press('Shift+Enter')
  await keyboard.type('and another')
  await keyboard.press('Enter')
  await until(async () => (await client.texts())[0] === 'one line\nand another', 'two lines in one message')

  const tea = await bob.group('tea', { username: 'ann' })
  for (let n = 0; n < 3; n++) await bob.post(tea, `tea ${n}`)
  await until(async () => (await client.unread('tea')) === 3)
  await keyboard.press('Control+k')
  await isFocused(page.getByRole('combobox', { name: 'Go to chat' }))
  await keyboard.type('te')
  await page.getByRole('option', { name: /tea/ }).waitFor()
  await keyboard.press('Enter')
  await page.getByRole('heading', { level: 1, name: 'tea' }).waitFor()
  await client.sees('tea 2')
  await keyboard.press('Alt+ArrowDown')
  await page.getByRole('heading', { level: 1, name: 'bob' }).waitFor()
  await bob.post(tea, 'tea 3')
  await until(async () => (await client.unread('tea')) === 1)
  await keyboard.press('Alt+Shift+ArrowUp')
  await page.getByRole('heading', { level: 1, name: 'tea' }).waitFor()
  await keyboard.press('Escape')
  await until(async () => (await client.unread('tea')) === 0)

  await tabTo(page, client.log, 'Shift+Tab')
  await keyboard.press('?')
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor()
  await keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  await isFocused(client.log, 'the focus to be where it was')

  const menu = page.getByRole('button', { name: 'Account menu' })
  await tabTo(page, menu, 'Shift+Tab')
  await keyboard.press('Enter')
  await page.getByRole('menuitem', { name: 'Profile and settings' }).waitFor()
  await keyboard.press('Escape')
  await isFocused(menu)
  await keyboard.press('Enter')
  const signOut = page.getByRole('menuitem', { name: 'Sign out' })
  await tabTo(page, signOut, 'ArrowDown')
  await keyboard.press('Enter')
  await page.getByRole('main', { name: 'Sign in' }).waitFor()
  await until(() => page.evaluate(() => document.activeElement !== document.body), 'the focus to be on the page that took its place')
})
