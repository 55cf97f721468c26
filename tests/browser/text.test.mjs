// Whatever people write is text: nothing of it is parsed, run or loaded. The Content-Security-Policy's listener of the
// harness must stay silent, and no request may leave the host.
import assert from 'node:assert/strict'
import { Client } from './client.mjs'
import { test } from './harness.mjs'

const MARKUP = [
  '<script>globalThis.owned = 1</script>',
  '<img src=x onerror="globalThis.owned = 2">',
  '<svg/onload=globalThis.owned=3><iframe src="javascript:parent.owned=4"></iframe>',
  '"><b style="position:fixed;inset:0">bold</b><!--',
  '<a href="javascript:globalThis.owned=5">click</a> &lt;i&gt; &amp;amp; ${7*7} {{7*7}} %3Cscript%3E',
  '<link rel=stylesheet href=http://evil.example/x.css><base href=//evil.example/><meta http-equiv=refresh content=0>',
]
const HOSTILE = '<img src=x onerror=owned=6>'

test('markup and scripts are shown as the text they are', async world => {
  const { server } = world
  const [ann, eve] = [await server.account('ann'), await server.account(HOSTILE)]
  const room = await eve.group(`<script>owned=7</script>`, ann)
  await eve.chatWith(ann)
  await eve.call('PATCH', '/users/me', { display_name: '<b onclick=owned=8>Eve</b>' })
  for (const text of MARKUP) await eve.post(room, text)
  const client = await Client.of(world, ann)
  const { page } = client
  await client.open('<script>owned=7</script>')
  await client.shows(MARKUP)
  for (const text of MARKUP) assert.equal(await client.message(text).locator('script, img, iframe, b, i, link, base, meta, svg svg').count(), 0)
  assert.match(await client.log.innerText(), new RegExp(HOSTILE))
  await client.members()
  await page.locator('[data-testid=member]').getByText(HOSTILE, { exact: true }).waitFor()
  await client.open(HOSTILE)
  for (const text of MARKUP) await client.say(text)
  await client.shows(MARKUP)
  await page.reload()
  await client.isLive()
  await client.shows(MARKUP)
  assert.equal(await page.evaluate(() => globalThis.owned), undefined)
  assert.equal(await page.locator('iframe, object, embed, base, body script:not([src])').count(), 0)
})

test('links can be followed, but never run', async world => {
  const { server } = world
  const [ann, eve] = [await server.account('ann'), await server.account('eve')]
  const room = await eve.chatWith(ann)
  await eve.post(room, 'see https://example.org/a?b=c&d=e(f) and javascript:alert(1) and data:text/html,<b>x</b>')
  const client = await Client.of(world, ann)
  await client.open('eve')
  const links = await client.log.getByTestId('content').getByRole('link').evaluateAll(links =>
    links.map(({ href, rel, target }) => ({ href, rel, target })))
  assert.equal(links.length, 1)
  assert.match(links[0].href, /^https:\/\/example\.org\/a\?b=c&d=e/)
  assert.equal(links[0].target, '_blank')
  assert.match(links[0].rel, /noopener/)
})

test('long words, code, emoji and right-to-left text keep the page in its frame', async world => {
  const { server } = world
  const [ann, bob] = [await server.account('ann'), await server.account('bob')]
  const room = await ann.chatWith(bob)
  const texts = ['x'.repeat(4_000), '```\n' + 'code '.repeat(200) + '\n```', '👩‍👩‍👧‍👦🎉', 'مرحبا بالعالم', `https://example.org/${'a'.repeat(1_000)}`, '\u202Eevil\u202C', 'a\u0301'.repeat(500)]
  for (const text of texts) await ann.post(room, text)
  for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 640 }]) {
    const client = await Client.of(world, bob, { viewport })
    await client.open('ann')
    await client.message('مرحبا بالعالم').waitFor()
    assert.equal(await client.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true)
    assert.equal(await client.log.evaluate(log => log.scrollWidth <= log.clientWidth), true)
    await client.page.close()
  }
})
