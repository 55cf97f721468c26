// How the tests are registered, judged and counted. A test is a sentence and a function that is given a `World`: a natter
// of its own, people with a browser context each, and watchers that let no test pass during which a page left the host,
// broke its Content-Security-Policy or threw an error.
//
// `node --experimental-websocket tests/browser/main.mjs FILTER…` runs the tests whose names contain one of the filters;
// spaces in a name may be written as `_`. The last line has the form of cargo's, which tests/run adds up. With
// `--update-screenshots` the pictures of docs/screenshots are made anew; else they go to target/screenshots.
import assert from 'node:assert/strict'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test as register } from 'node:test'
import { chromium } from 'playwright-core'
import { PASSWORD, Server } from './server.mjs'

const root = new URL('../../', import.meta.url).pathname
const failures = join(root, 'target/browser')
const isFlag = argument => argument.startsWith('--')
const filters = process.argv.slice(2).filter(argument => !isFlag(argument))
const matches = name => !filters.length || filters.some(filter => name.includes(filter) || name.replaceAll(' ', '_').includes(filter))
const counts = { passed: 0, failed: 0 }

/** Where the pictures for people go. */
export const screenshots = join(root, process.argv.includes('--update-screenshots') ? 'docs/screenshots' : 'target/screenshots')

/** No test waits longer for anything. */
export const PATIENCE_MS = 20_000

/**
 * @param {string} name a sentence
 * @param {(world: World) => Promise<void>} act
 * @param {{settings?: object, timeout?: number}} [options] settings of the server; milliseconds for the whole test
 */
export function test(name, act, { settings, timeout = 60_000 } = {}) {
  if (!matches(name)) return
  register(name, async () => {
    const world = new World(await Server.start(settings))
    let timer
    const tooLong = new Promise((_, fail) => (timer = setTimeout(fail, timeout, new Error(`took longer than ${timeout} ms`))))
    try {
      await Promise.race([act(world), tooLong])
      assert.deepEqual(world.complaints, [], 'pages complained')
      counts.passed++
    } catch (error) {
      counts.failed++
      await world.photograph(name)
      throw error
    } finally {
      clearTimeout(timer)
      await world.end()
    }
  })
}

await rm(failures, { recursive: true, force: true })
after(async () => (await starting)?.close())
process.on('exit', () => {
  const { passed, failed } = counts
  console.log(`test result: ${failed ? 'FAILED' : 'ok'}. ${passed} passed; ${failed} failed; 0 ignored`)
})

let starting = null
function browser() {
  starting ??= chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  })
  return starting
}

export class World {
  complaints = []
  #contexts = []
  #servers = []

  constructor(server) {
    this.server = server
  }

  /**
   * A browser of somebody's own. `options` are Playwright's: viewport, colorScheme, reducedMotion…; `prepare` is called
   * with the context before it has a page.
   */
  context = async ({ prepare = () => {}, ...options } = {}) => {
    const context = await (await browser()).newContext({
      baseURL: this.server.url,
      viewport: { width: 1280, height: 800 },
      locale: 'en-GB',
      timezoneId: 'Europe/Berlin',
      ...options,
    })
    context.setDefaultTimeout(PATIENCE_MS)
    this.#contexts.push(context)
    await this.#watch(context)
    await prepare(context)
    return context
  }

  /** A page at the client's start. */
  page = async options => {
    const page = await (await this.context(options)).newPage()
    await page.goto('/')
    return page
  }

  /** A page whose login was begun over REST, as if its tab had been closed and opened again. */
  pageOf = async (account, { path = '/', ...options } = {}) => {
    const context = await this.context(options)
    const page = await context.newPage()
    await page.goto('/healthz')
    await page.evaluate(async ([username, password]) => {
      const { Session } = await import('/natter.js')
      await new Session().signIn(username, password)
    }, [account.username, PASSWORD])
    await page.goto(path)
    return page
  }

  /** Another natter, with settings of its own; it ends with the test. */
  anotherServer = async settings => {
    const server = await Server.start(settings)
    this.#servers.push(server)
    return server
  }

  /** Hosts besides the server's that this test's pages may ask. */
  allowed = new Set()

  async #watch(context) {
    const own = url => {
      const { protocol, host } = new URL(url)
      return ['data:', 'blob:', 'about:'].includes(protocol) || host === new URL(this.server.url).host || this.allowed.has(host)
    }
    const leaves = url => own(url) || this.complaints.push(`a request left the host: ${url}`)
    context.on('request', request => leaves(request.url()))
    context.on('weberror', error => this.complaints.push(`an error in a page: ${error.error().stack}`))
    context.on('page', page => page.on('websocket', socket => leaves(socket.url())))
    context.on('console', message => {
      if (/Content.Security.Policy|Trusted ?Type/i.test(message.text())) this.complaints.push(`the console: ${message.text()}`)
    })
    await context.exposeBinding('tellOfViolation', (_, text) => this.complaints.push(`the policy was broken: ${text}`))
    await context.addInitScript(() => {
      addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI, sample }) => {
        globalThis.tellOfViolation(`${violatedDirective} ${blockedURI} ${sample}`)
      })
    })
  }

  /** What the pages of a failed test looked like, into target/browser. */
  async photograph(name) {
    await mkdir(failures, { recursive: true })
    const pages = this.#contexts.flatMap(context => context.pages())
    const file = index => join(failures, `${name.replace(/\W+/g, '_').slice(0, 80)}-${index + 1}.png`)
    await Promise.allSettled(pages.map((page, index) => page.screenshot({ path: file(index), timeout: 5_000 })))
  }

  async end() {
    await Promise.allSettled(this.#contexts.map(context => context.close()))
    await Promise.allSettled([this.server, ...this.#servers].map(server => server.remove()))
  }
}

/** Waits until `look` gives something that is true. For what tells of no event; pages have Playwright's waiting. */
export async function until(look, what = look) {
  const end = Date.now() + PATIENCE_MS
  for (;;) {
    const found = await look()
    if (found) return found
    assert.ok(Date.now() < end, `in vain waited for ${what}`)
    await new Promise(done => setTimeout(done, 20))
  }
}
