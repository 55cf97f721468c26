// The page of the API: it shows every route, signs in through /token, and sends requests. The harness sees to it that it asks
// no other host and keeps to its policy.
import assert from 'node:assert/strict'
import { test } from './harness.mjs'
import { PASSWORD } from './server.mjs'

test('the page of the API shows every route, signs in and tries requests out', async world => {
  const { server } = world
  await server.account('ann')
  const page = await (await world.context()).newPage()
  await page.goto('/docs')
  await page.locator('#operations-tag-Accounts').waitFor()
  const { paths } = await (await fetch(`${server.url}/openapi.json`)).json()
  const told = Object.values(paths).flatMap(item => Object.keys(item).filter(key => key !== 'parameters'))
  assert.equal(await page.locator('.opblock').count(), told.length)

  await page.getByRole('button', { name: 'Authorize' }).first().click()
  await page.locator('#oauth_username').fill('ann')
  await page.locator('#oauth_password').fill(PASSWORD)
  await page.locator('.modal-ux .authorize').first().click()
  await page.locator('.modal-ux').getByRole('heading', { name: 'Authorized' }).waitFor()
  await page.getByRole('button', { name: 'Close', exact: true }).first().click()

  const me = page.locator('#operations-Accounts-me')
  await me.getByRole('button').first().click()
  await me.getByRole('button', { name: 'Execute' }).click()
  const answer = me.locator('.live-responses-table')
  await answer.getByText('"username": "ann"').waitFor()
  assert.equal((await answer.locator('tbody .response-col_status').innerText()).trim().slice(0, 3), '200')
})
