// The web client as a person uses it: by roles and names.
import assert from 'node:assert/strict'
import { until } from './harness.mjs'
import { PASSWORD } from './server.mjs'

export class Client {
  constructor(page) {
    this.page = page
    this.log = page.getByRole('log', { name: 'Messages' })
    this.box = page.getByRole('textbox', { name: 'Message' })
  }

  /** The client in a new browser, signed in; `options` are `World.pageOf`'s. */
  static async of(world, account, options) {
    const client = new Client(await world.pageOf(account, options))
    await client.isLive()
    return client
  }

  async signUp(username) {
    const { page } = this
    await page.getByRole('button', { name: 'Create an account' }).click()
    await page.getByLabel('Username').fill(username)
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD)
    await page.getByRole('button', { name: 'Create account' }).click()
    await this.isLive()
  }

  async signIn(username) {
    const { page } = this
    await page.getByLabel('Username').fill(username)
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await this.isLive()
  }

  async signOut() {
    await this.choose('Account menu', 'Sign out')
    await this.page.getByRole('main', { name: 'Sign in' }).waitFor()
  }

  isLive() {
    return this.page.locator('html[data-connection=live]').waitFor({ state: 'attached' })
  }

  /** A menu's button, then one of its items. */
  async choose(menu, item, role = 'menuitem') {
    await this.page.getByRole('button', { name: menu }).click()
    await this.page.getByRole(role, { name: item }).click()
  }

  /** A room in the list; its accessible name goes on with what is unread, and so on. */
  room(name) {
    const begins = new RegExp(`^${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(,|$)`)
    return this.page.getByTestId('room').and(this.page.getByRole('link', { name: begins }))
  }

  async open(name) {
    await this.room(name).click()
    await this.page.getByRole('heading', { level: 1, name }).waitFor()
  }

  async privateChat(username) {
    await this.page.getByRole('button', { name: 'New chat' }).first().click()
    const dialog = this.page.getByRole('dialog', { name: 'New chat' })
    await dialog.getByRole('combobox', { name: 'Find people' }).fill(username)
    await dialog.getByRole('option', { name: username }).click()
    await this.page.getByRole('heading', { level: 1, name: username }).waitFor()
  }

  async group(name, ...usernames) {
    await this.page.getByRole('button', { name: 'New chat' }).first().click()
    const dialog = this.page.getByRole('dialog', { name: 'New chat' })
    await dialog.getByRole('radio', { name: 'Group' }).check()
    await dialog.getByRole('textbox', { name: 'Group name' }).fill(name)
    for (const username of usernames) {
      await dialog.getByRole('combobox', { name: 'Find people' }).fill(username)
      await dialog.getByRole('option', { name: username }).click()
    }
    await dialog.getByRole('button', { name: 'Create group' }).click()
    await this.page.getByRole('heading', { level: 1, name }).waitFor()
  }

  /** Opens the panel of a group's members, where it is not open. */
  async members() {
    const button = this.page.getByRole('button', { name: 'Members', exact: true })
    if ((await button.getAttribute('aria-expanded')) !== 'true') await button.click()
    await this.page.getByRole('complementary', { name: 'Members' }).getByTestId('member').first().waitFor()
  }

  async say(text) {
    await this.box.fill(text)
    await this.box.press('Enter')
  }

  message(text) {
    return this.log.getByTestId('message').filter({ has: this.page.getByTestId('content').getByText(text, { exact: true }) })
  }

  /** Waits for a message, and that it is there once. */
  async sees(text) {
    await this.message(text).first().waitFor()
    assert.equal(await this.message(text).count(), 1, `${text} is shown once`)
    return this.message(text)
  }

  hasSent(text) {
    return this.message(text).and(this.page.locator('[data-state=sent]')).waitFor()
  }

  /** The texts that are in the log, in their order. */
  texts() {
    return this.log.getByTestId('message').getByTestId('content').allInnerTexts()
  }

  async shows(texts) {
    const same = async () => JSON.stringify(await this.texts()) === JSON.stringify(texts)
    await until(same, `the log to be ${texts.join(', ').slice(0, 300)}`).catch(async () => assert.deepEqual(await this.texts(), texts))
  }

  unread(name) {
    return this.room(name).getAttribute('data-unread').then(Number)
  }
}
