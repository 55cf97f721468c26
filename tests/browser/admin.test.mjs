// The admins' page, and one's own account.
import assert from 'node:assert/strict'
import { Client } from './client.mjs'
import { test, until } from './harness.mjs'
import { PASSWORD } from './server.mjs'

test('an admin finds people, gives and takes roles, ends logins and disables accounts', async world => {
  const { server } = world
  const root = await server.admin('root')
  for (let n = 0; n < 60; n++) await server.request('POST', '/users/register', { username: `person-${n}`, password: PASSWORD })
  const [ann, bob] = [await Client.of(world, await server.account('ann')), await Client.of(world, await server.account('bob'))]
  const admin = await Client.of(world, root)
  const { page } = admin
  await admin.choose('Account menu', 'People')
  await page.getByRole('heading', { name: 'People' }).waitFor()
  const person = name => page.locator(`[data-testid=person][data-username=${name}]`)
  await until(async () => (await page.getByTestId('person').count()) === 50)
  await page.getByRole('button', { name: 'Show more' }).click()
  await until(async () => (await page.getByTestId('person').count()) === 63)
  await page.getByRole('searchbox', { name: 'Search people' }).fill('ann')
  await until(async () => (await page.getByTestId('person').count()) === 1)

  await admin.choose('Actions for ann', 'Make admin')
  await person('ann').getByText('Admin', { exact: true }).waitFor()
  assert.deepEqual((await root.call('GET', '/users/?q=ann')).users[0].roles.map(role => role.role_name).sort(), ['admin', 'basic_user'])
  await admin.choose('Actions for ann', 'Remove admin')
  await person('ann').getByText('Active').waitFor()

  await admin.choose('Actions for ann', 'End all logins')
  await page.getByRole('dialog').getByRole('button', { name: 'End logins' }).click()
  await ann.page.getByRole('main', { name: 'Sign in' }).waitFor()
  await ann.signIn('ann')

  await page.getByRole('searchbox', { name: 'Search people' }).fill('bob')
  await person('bob').waitFor()
  await admin.choose('Actions for bob', 'Disable')
  await page.getByRole('dialog').getByRole('button', { name: 'Disable' }).click()
  await person('bob').getByText('Disabled').waitFor()
  await bob.page.getByRole('main', { name: 'Sign in' }).waitFor()
  await admin.choose('Actions for bob', 'Enable')
  await person('bob').getByText('Active').waitFor()
  await bob.signIn('bob')
})

test('an admin makes an account, resets its password, and reads the audit', async world => {
  const { server } = world
  const admin = await Client.of(world, await server.admin('root'))
  const { page } = admin
  await admin.choose('Account menu', 'People')
  await page.getByRole('button', { name: 'New account' }).click()
  const making = page.getByRole('dialog', { name: 'New account' })
  await making.getByLabel('Username').fill('zoe')
  await making.getByLabel('Password').fill('short')
  await making.getByRole('button', { name: 'Create account' }).click()
  await making.locator('.error:not([hidden])').waitFor()
  await making.getByLabel('Password').fill(PASSWORD)
  await making.getByRole('button', { name: 'Create account' }).click()
  await page.locator('[data-testid=person][data-username=zoe]').waitFor()
  const zoe = await server.signedIn('zoe')
  await admin.choose('Actions for zoe', 'Reset password')
  const reset = page.getByRole('dialog', { name: 'New password for zoe' })
  await reset.getByLabel('New password').fill('another-good-one')
  await reset.getByRole('button', { name: 'Reset password' }).click()
  await reset.waitFor({ state: 'hidden' })
  await assert.rejects(zoe.call('GET', '/users/me'))
  await server.request('POST', '/token', new URLSearchParams({ username: 'zoe', password: 'another-good-one' }))
  await page.getByRole('button', { name: 'Audit' }).click()
  const audit = page.getByRole('dialog', { name: 'Audit' })
  await audit.getByText('password reset zoe').waitFor()
  await audit.getByText('account created zoe').waitFor()
})

test('who is no admin sees nothing of the admins’ page', async world => {
  const client = await Client.of(world, await world.server.account('ann'))
  await client.page.goto('/#/admin')
  await client.page.locator('html[data-view=home]').waitFor({ state: 'attached' })
  assert.equal(await client.page.getByTestId('person').count(), 0)
  await client.page.getByRole('button', { name: 'Account menu' }).click()
  assert.equal(await client.page.getByRole('menuitem', { name: /People/ }).count(), 0)
})

test('people see where they are signed in, and end those logins', async world => {
  const ann = await world.server.account('ann')
  const client = await Client.of(world, ann)
  const { page } = client
  await world.server.request('POST', '/token', new URLSearchParams({ username: 'ann', password: PASSWORD }))
  const other = await Client.of(world, await world.server.account('bob'))
  await client.choose('Account menu', 'Profile and settings')
  const dialog = page.getByRole('dialog', { name: 'Profile and settings' })
  const { logins } = await ann.call('GET', '/users/me/logins')
  await until(async () => (await dialog.getByTestId('login').count()) === logins.length)
  await dialog.getByTestId('login').filter({ hasText: 'this one' }).getByText(/127\.0\.0\.1 · seen/).waitFor()
  const [first] = logins.filter(login => !login.current)
  await dialog.locator(`[data-sid="${first.sid}"]`).getByRole('button').click()
  await until(async () => (await ann.call('GET', '/users/me/logins')).logins.length === logins.length - 1)
  await until(async () => (await dialog.getByTestId('login').count()) === logins.length - 1)
  for (let more = 0; more < 2; more++) await world.server.request('POST', '/token', new URLSearchParams({ username: 'ann', password: PASSWORD }))
  await page.keyboard.press('Escape')
  await client.choose('Account menu', 'Profile and settings')
  await dialog.getByRole('button', { name: 'Sign out everywhere else' }).click()
  await until(async () => (await dialog.getByTestId('login').count()) === 1)
  await page.reload()
  await client.isLive()
  await other.isLive()
})

test('people change their name and password, and stay signed in', async world => {
  const ann = await world.server.account('ann')
  const client = await Client.of(world, ann)
  const { page } = client
  await client.choose('Account menu', 'Profile and settings')
  const dialog = page.getByRole('dialog', { name: 'Profile and settings' })
  await dialog.getByLabel('Display name').fill('Ann of the hills')
  await dialog.getByRole('button', { name: 'Save name' }).click()
  await until(async () => (await ann.call('GET', '/users/me')).display_name === 'Ann of the hills')
  await dialog.getByLabel('Current password').fill('something-wrong')
  await dialog.getByLabel('New password').fill('another-good-one')
  await dialog.getByRole('button', { name: 'Change password' }).click()
  await dialog.getByText('The current password is not right.').waitFor()
  await dialog.getByLabel('Current password').fill(PASSWORD)
  await dialog.getByRole('button', { name: 'Change password' }).click()
  const form = new URLSearchParams({ username: 'ann', password: 'another-good-one' })
  await until(() => world.server.request('POST', '/token', form).catch(() => null), 'the new password to be good')
  await page.reload()
  await client.isLive()
})

test('an admin deletes an account, which is asked first, and what it said stays as that of nobody', async world => {
  const { server } = world
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const { chat_id } = await ann.call('POST', '/chat/new', { username: 'bob' })
  await bob.call('POST', `/chat/${chat_id}`, { message: 'his word' })
  const admin = await Client.of(world, await server.admin('root'))
  const { page } = admin
  await admin.choose('Account menu', 'People')
  await admin.choose('Actions for bob', 'Delete')
  const asking = page.getByRole('dialog', { name: 'Delete bob?' })
  await asking.getByText('This cannot be undone').waitFor()
  await page.keyboard.press('Escape')
  await page.locator('[data-testid=person][data-username=bob]').waitFor()
  await admin.choose('Actions for bob', 'Delete')
  await asking.getByLabel('Somebody else may have this name').check()
  await asking.getByRole('button', { name: 'Delete' }).click()
  await page.locator('[data-testid=person][data-username=bob]').waitFor({ state: 'detached' })
  await server.account('bob')
  const reader = await Client.of(world, ann)
  await reader.open('deleted user')
  await reader.sees('his word')
})
