// A natter of a test's own: a process that can be killed, stopped and started again with the same data and port; and the
// people who use it over REST, so that a test begins where it becomes interesting.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const root = new URL('../../', import.meta.url).pathname
const BINARY = process.env.NATTER_BIN ?? join(root, 'target/debug/natter')
export const PASSWORD = 'correct-horse-battery'

export class Server {
  #settings
  #folder
  #process = null
  #log = ''
  url = null

  /** `settings` by their names in config.toml: `{'auth.access_token_minutes': 1}`. */
  static async start(settings = {}) {
    const server = new Server()
    server.#folder = await mkdtemp(join(tmpdir(), 'natter-browser-'))
    server.#settings = { 'auth.bcrypt_cost': 4, 'limits.rates': 'off', 'server.drain_secs': 2, ...settings }
    await server.again()
    return server
  }

  get #env() {
    const env = { PATH: process.env.PATH, HOME: this.#folder, DB_URL: `sqlite:${this.#folder}/natter.db` }
    env.NATTER_SERVER__BIND = this.url ? new URL(this.url).host : '127.0.0.1:0'
    for (const [key, value] of Object.entries(this.#settings)) env[`NATTER_${key.toUpperCase().replace('.', '__')}`] = `${value}`
    return env
  }

  /** Starts it, on the address it had before, where it had one. */
  async again() {
    const child = spawn(BINARY, { cwd: this.#folder, env: this.#env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#process = child
    const exit = once(child, 'exit').catch(error => [error])
    child.stderr.on('data', data => (this.#log += data))
    let said = ''
    const listening = new Promise(done =>
      child.stdout.on('data', data => {
        said += data
        const address = said.match(/^listening on (http:\/\/\S+)$/m)
        if (address) done(address[1])
      }),
    )
    const address = await Promise.race([listening, exit.then(() => null)])
    if (!address) throw new Error(`${BINARY} does not start:\n${said}${this.#log}`)
    this.url = address
  }

  async #end(signal) {
    const child = this.#process
    if (!child) return
    this.#process = null
    const exit = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null
    child.kill('SIGCONT')
    child.kill(signal)
    await exit
  }

  /** As a power failure would: nothing is said to anybody. */
  async kill() {
    await this.#end('SIGKILL')
  }

  /** As an operator would: sockets are closed with 1012. */
  async stop() {
    await this.#end('SIGTERM')
  }

  /** The process stands still: connections live on, and nothing answers. */
  freeze() {
    this.#process.kill('SIGSTOP')
  }

  thaw() {
    this.#process.kill('SIGCONT')
  }

  async remove() {
    await this.kill()
    await rm(this.#folder, { recursive: true, force: true })
  }

  /** `natter admin …`, beside the running server. */
  async command(...args) {
    const run = promisify(execFile)(BINARY, ['admin', ...args], { cwd: this.#folder, env: this.#env })
    run.child.stdin.end(`${PASSWORD}\n`)
    return (await run).stdout
  }

  /** An account with `PASSWORD`, signed in. */
  async account(username) {
    await this.request('POST', '/users/register', { username, password: PASSWORD })
    return this.signedIn(username)
  }

  async admin(username) {
    await this.command('create', '--username', username, '--password-stdin')
    return this.signedIn(username)
  }

  async signedIn(username) {
    const form = new URLSearchParams({ username, password: PASSWORD })
    return new Account(this, username, await this.request('POST', '/token', form))
  }

  async request(method, path, body, token) {
    const isForm = body instanceof URLSearchParams
    const headers = token ? { authorization: `Bearer ${token}` } : {}
    if (body && !isForm) headers['content-type'] = 'application/json'
    const answer = await fetch(this.url + path, { method, headers, body: isForm ? body : JSON.stringify(body) })
    const json = await answer.json()
    if (!answer.ok) throw Object.assign(new Error(`${method} ${path}: ${JSON.stringify(json)}`), { status: answer.status, json })
    return json
  }
}

/** Somebody who uses the API directly. */
export class Account {
  constructor(server, username, login) {
    Object.assign(this, { server, username, login })
  }

  call(method, path, body) {
    return this.server.request(method, path, body, this.login.access_token)
  }

  async chatWith(other) {
    return (await this.call('POST', '/chat/new', { username: other.username })).chat_id
  }

  async group(name, ...others) {
    const usernames = others.map(other => other.username)
    return (await this.call('POST', '/chat/new', { name, usernames })).chat_id
  }

  post(chat_id, message, client_id) {
    return this.call('POST', `/chat/${chat_id}`, { message, client_id })
  }

  /** Posts many as fast as the server takes them, in their order: `text(0)`, `text(1)`… */
  async flood(chat_id, count, text) {
    const socket = new WebSocket(`${this.server.url.replace('http', 'ws')}/ws/chat/${chat_id}`, [`bearer.${this.login.access_token}`, 'natter.v1'])
    await once(socket, 'open')
    let heard = 0
    const all = new Promise((done, fail) => {
      socket.addEventListener('message', () => ++heard === count && done())
      socket.addEventListener('close', ({ code }) => fail(new Error(`closed with ${code} after ${heard} of ${count}`)))
    })
    for (let sent = 0; sent < count; sent++) socket.send(JSON.stringify({ message: text(sent) }))
    await all
    socket.close()
  }

  /** Every message of a room, oldest first. */
  async messages(chat_id) {
    const all = []
    for (let after = 0; after !== null; ) {
      const page = await this.call('GET', `/chat/${chat_id}?after=${after}&limit=500`)
      all.push(...page.messages)
      after = page.next_after
    }
    return all
  }
}
