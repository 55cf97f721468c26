/**
 * natter's protocol for browsers and Node 22; no dependencies, no DOM. `Session` is a login, `Natter` its live connection:
 *
 *     import { Natter, Session } from 'https://chat.example.org/natter.js'
 *     const session = new Session({ server: 'https://chat.example.org' })
 *     await session.signIn('ann', 'correct-horse')
 *     const natter = new Natter(session)
 *     natter.addEventListener('event', ({ detail }) => console.log(detail.sender, detail.content))
 *     natter.connect()
 *     await natter.post(chat_id, 'Hello') // also while offline: it waits, and arrives once
 *
 * Pages of other origins must be listed in `server.allowed_origins`.
 */

/** Close codes that reconnecting does not mend. */
const FINAL = new Set([1002, 1003, 1007, 1008, 1009, 1010, 4403])
/** Is this refusal only for now? */
const passes = ({ code = '', retry_after }) => retry_after != null || /^(busy|rate_limited|store_|too_many_)/.test(code)

const POST_MS = 30_000 // a post that has no answer after so long goes over another socket
const LOCK_MS = 45_000 // so long a tab may renew the login
const SPREAD_MS = 200 // until all tabs see what one wrote into localStorage
const READ_MS = 250 // read marks of that time go together
const TYPING_MS = 2_000 // the server passes one on in that time

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('')
/** Milliseconds that nobody sets back: whatever waits, waits by these. The time of day is for people, and for other tabs. */
const now = () => performance.now()
const sleep = ms => new Promise(done => setTimeout(done, ms))
/** Exponential, with full jitter. */
const backOff = tries => Math.random() * Math.min(30_000, 500 * 2 ** tries)
const tell = (target, type, detail) => target.dispatchEvent(new CustomEvent(type, { detail }))
// Only secure contexts have them.
const locks = () => globalThis.navigator?.locks
const keyOf = ({ chat_id, client_id }) => `${chat_id} ${client_id}`
const parse = text => { try { return JSON.parse(text) } catch { return null } }

/**
 * A storage that keeps what `storage` does not: where that is full, refuses or forgets, the page's memory has it.
 * @returns {Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>}
 */
function sturdy(storage) {
  const kept = new Map()
  const held = key => { try { return storage.getItem(key) } catch { return null } }
  const drop = key => { try { storage.removeItem(key) } catch { /* It keeps nothing anyway. */ } }
  const keeps = (key, text) => {
    try { storage.setItem(key, text) } catch { return false }
    return held(key) === text
  }
  return {
    getItem: key => kept.get(key) ?? held(key),
    setItem(key, text) {
      kept.delete(key)
      if (keeps(key, text)) return
      // What was there before is void, and its room may be what is missing.
      drop(key)
      if (!keeps(key, text)) kept.set(key, text)
    },
    removeItem(key) {
      kept.delete(key)
      drop(key)
    },
  }
}

/** A storage where there is no localStorage. */
function memory() {
  const items = new Map()
  return { getItem: key => items.get(key) ?? null, setItem: (key, text) => items.set(key, text), removeItem: key => items.delete(key) }
}

function ownStorage() {
  try { return globalThis.localStorage ?? memory() } catch { return memory() }
}

/**
 * Why something was not done. `message` is a sentence for people, `code` the server's word, or `offline` or `signed_out`;
 * `status` the HTTP status, or 0; `detail` what the server said; `fields` what is wrong with each field of a form;
 * `retryAfter` the seconds after which to try again, where it says so; `requestId` how its log calls the request.
 */
export class Refusal extends Error {
  name = 'Refusal'
  fields = {}

  constructor(status, { code, detail, request_id, retry_after } = {}, cause) {
    const list = Array.isArray(detail) ? detail : []
    const text = list.length ? list.map(({ loc, msg }) => `${loc?.at(-1)}: ${msg}`).join('; ') : detail?.message ?? detail
    super(typeof text === 'string' ? text : `The server answered ${status}.`, { cause })
    Object.assign(this, { status, code: code ?? `http_${status}`, detail, retryAfter: retry_after, requestId: request_id })
    for (const { loc, msg } of list) this.fields[loc?.at(-1)] = msg
  }
}

const signedOut = () => new Refusal(401, { code: 'signed_out', detail: 'You are signed out; sign in again.' })

/**
 * A login. All tabs of an origin share its tokens, and one at a time renews them: a refresh token that comes again a while
 * after its use ends the login.
 *
 * Events: `signedin` {user}, `signedout` {user, reason: 'you' | 'elsewhere' | 'revoked'} (whoever did it), `token` (a new one).
 */
export class Session extends EventTarget {
  #storage
  #key
  #login = null
  #knownSince = 0 // this access token
  #renewing = null

  /** @param {{server?: string, storage?: Storage, key?: string}} [options] tokens are kept in `storage` under `key` */
  constructor({ server = globalThis.location?.origin, storage = ownStorage(), key = 'natter.session' } = {}) {
    super()
    this.server = server.replace(/\/+$/, '')
    this.#storage = sturdy(storage)
    this.#key = key
    this.#login = this.#stored()
    globalThis.addEventListener?.('storage', event => {
      if (event.key === key || event.key === null) this.#look('elsewhere')
    })
  }

  /** Whether there is a login; only the server knows whether it is good. */
  get signedIn() {
    return this.#stored() !== null
  }

  /** Whose login it is. @returns {{user_id: string, username: string} | null} */
  get user() {
    return this.#stored()?.user ?? null
  }

  /** Makes an account; `signIn` comes next. */
  async signUp(username, password) {
    return this.#fetch('POST', '/users/register', { username, password })
  }

  /** Begins a login, in the place of the one before. */
  async signIn(username, password) {
    const login = await this.#fetch('POST', '/token', new URLSearchParams({ username, password }))
    const before = this.#stored()
    this.#keep(login)
    this.#look('you')
    if (before) await this.#revoke(before.refresh)
  }

  /** Ends the login: in every tab at once, and on the server if it can be reached. */
  async signOut() {
    const login = this.#stored()
    this.#storage.removeItem(this.#key)
    this.#look('you')
    if (login) await this.#revoke(login.refresh)
  }

  /** An access token. `stale`: true for a new one, or the token that was refused. */
  async token(stale = false) {
    this.#look('elsewhere')
    const login = this.#login
    if (!login) throw signedOut()
    if (stale === true) stale = login.access
    if (stale === login.access) return this.#renew(login => login.access === stale)
    // Also where the clock was set back: then nobody knows by it how old a token is.
    const isDue = login => Date.now() >= login.renew || Date.now() < login.at || now() - this.#knownSince >= login.renew - login.at
    if (!isDue(login)) return login.access
    try {
      return await this.#renew(isDue)
    } catch (refusal) {
      if (refusal.status === 401 || Date.now() >= login.until) throw refusal
      return login.access
    }
  }

  /** A call of the REST API with this login: JSON in, JSON out, or a `Refusal`. */
  async call(method, path, body) {
    const token = await this.token()
    const { sid } = this.#login
    try {
      return await this.#fetch(method, path, body, token)
    } catch (refusal) {
      if (refusal.status !== 401) throw refusal
      const other = await this.token(token)
      // Another tab may have signed in somebody else.
      if (this.#login.sid !== sid) throw signedOut()
      return this.#fetch(method, path, body, other)
    }
  }

  async #fetch(method, path, body, token) {
    const form = body instanceof URLSearchParams
    const headers = { accept: 'application/json' }
    if (token) headers.authorization = `Bearer ${token}`
    if (body && !form) headers['content-type'] = 'application/json'
    let answer, text
    try {
      body = form ? body : JSON.stringify(body)
      answer = await fetch(this.server + path, { method, headers, body, credentials: 'omit', signal: AbortSignal.timeout(40_000) })
      text = await answer.text()
    } catch (error) {
      throw new Refusal(0, { code: 'offline', detail: 'The server cannot be reached; check the connection and try again.' }, error)
    }
    const json = parse(text)
    if (answer.ok && json) return json
    const retry_after = Number(answer.headers.get('retry-after')) || undefined
    throw new Refusal(answer.status, { request_id: answer.headers.get('x-request-id') ?? undefined, ...json, retry_after })
  }

  #stored() {
    const login = parse(this.#storage.getItem(this.#key))
    return login?.access && login.refresh && login.user ? login : null
  }

  #keep({ access_token: access, refresh_token: refresh, expires_in }) {
    // The claims of the JWT.
    const bytes = Uint8Array.from(atob(access.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')), char => char.charCodeAt(0))
    const { sub: username, uid: user_id, sid } = JSON.parse(new TextDecoder().decode(bytes))
    const life = expires_in * 1000
    const at = Date.now()
    const until = at + life
    const renew = until - Math.min(120_000, life / 4)
    this.#storage.setItem(this.#key, JSON.stringify({ access, refresh, sid, user: { user_id, username }, at, renew, until }))
  }

  /** Reads the storage, and tells what is new. */
  #look(reason) {
    const before = this.#login
    const after = (this.#login = this.#stored())
    if (after?.access !== before?.access) this.#knownSince = now()
    if (before && before.sid !== after?.sid) {
      const revoked = !after && this.#storage.getItem(this.#key) === 'null'
      tell(this, 'signedout', { reason: revoked ? 'revoked' : reason, user: before.user })
    }
    if (after && after.sid !== before?.sid) tell(this, 'signedin', { user: after.user })
    else if (after && after.access !== before.access) tell(this, 'token')
  }

  #revoke(refresh_token) {
    return this.#fetch('POST', '/token/revoke', { refresh_token }).catch(() => {})
  }

  #renew(isDue) {
    return (this.#renewing ??= this.#alone(() => this.#renewAlone(isDue)).finally(() => (this.#renewing = null)))
  }

  async #renewAlone(isDue) {
    this.#look('elsewhere')
    const login = this.#login
    if (!login) throw signedOut()
    if (!isDue(login)) return login.access // another tab was first
    let fresh
    try {
      fresh = await this.#fetch('POST', '/token/refresh', { refresh_token: login.refresh })
    } catch (refusal) {
      if (refusal.status !== 401) throw refusal
      const isSame = this.#stored()?.refresh === login.refresh
      // 'null', not nothing: the other tabs see that nobody has signed out.
      if (isSame) this.#storage.setItem(this.#key, 'null')
      this.#look(isSame ? 'revoked' : 'elsewhere')
      if (!this.#login) throw signedOut()
      return this.#login.access
    }
    if (this.#stored()?.refresh !== login.refresh) {
      // Signed out meanwhile: this login must not come back.
      this.#revoke(fresh.refresh_token)
      throw signedOut()
    }
    this.#keep(fresh)
    this.#look('elsewhere')
    return fresh.access_token
  }

  /**
   * Runs `work` in one tab at a time. A tab may see what another stored later than that its lock is free, so the lock is
   * kept a little longer. Without Web Locks whoever stored its name last has the lock.
   */
  async #alone(work) {
    const [name, storage, mine] = [`${this.#key}.lock`, this.#storage, random()]
    const owner = () => storage.getItem(name)?.split(' ') ?? []
    const locked = async () => {
      const done = work()
      await done.catch(() => {})
      sleep(SPREAD_MS).then(free)
      return done
    }
    let free
    const freed = new Promise(done => (free = done))
    if (locks()) return new Promise((done, fail) => locks().request(name, () => (done(locked()), freed)).catch(fail))
    let seen, since
    while (owner()[0] !== mine) {
      const [other, until] = owner()
      if (other !== seen) [seen, since] = [other, now()]
      // Nobody holds it longer, whatever the clock says.
      if (Date.now() < until && now() - since < LOCK_MS) await sleep(50)
      else {
        storage.setItem(name, `${mine} ${Date.now() + LOCK_MS}`)
        await sleep(SPREAD_MS)
      }
    }
    freed.then(() => owner()[0] === mine && storage.removeItem(name))
    return locked()
  }
}

/**
 * One socket for all rooms of a user, which reconnects by itself. Of each room every event is told once, in the order of
 * `seq` and without a hole, or else a `reload`. Posts are kept and sent again until they are answered.
 *
 * Events, with `detail`:
 * - `state` {state, retryAt?, code?, reason?, blocked?: the server answers requests, but something lets no socket through}
 * - `event`: of a room's log; types that you do not know may come
 * - `reload` {chat_id, head, epoch}: the log was replaced; load the history anew
 * - `chats` {chat_id, change: 'added' | 'removed' | 'invited'}: a room that is followed from now on, or no more; or one asks to be let in
 * - `posted` {chat_id, client_id, message_id, seq, sent_at, duplicate}, `failed` {chat_id, client_id, content, refusal}
 * - `changed` {chat_id, client_id, message_id, type: 'edit' | 'delete', seq}; where it was refused, `unchanged` {…, content?, refusal}
 * - `read`, `typing`, `presence`, `draining`, and `refused` (errors that are about no post): the server's frames
 */
export class Natter extends EventTarget {
  #session
  #url
  #socket = null
  #state = 'closed'
  #me = null
  #turn = 0 // an attempt's number; what an earlier one began is void
  #tries = 0
  #timer = null // of the next attempt
  #mayHurry = true // the server did not ask for this wait
  #looking = null
  #token = null // that the socket was shown last
  #stale = false // the token that the server refused
  #doubtful = false // the handshake failed, perhaps for the token: browsers do not tell
  #answers = false // to requests, since a handshake failed
  #liveAt = 0
  #heardAt = 0
  #pingedAt = 0
  #lookedAt = 0
  #forgiven = false
  #listeners = null
  #queue = []
  #allowance = 200
  #sentAt = 0
  #sendTimer
  #req = 0
  #asked = new Map() // req → what to do with the answer
  #rooms = new Map() // chat_id → {since, epoch, from: told since then, ask: the req to be answered first}
  #wasLive = false
  #posts = new Map() // by keyOf, in the order they were written
  #heldUntil = 0
  #wroteAt = 0
  #holds = 0
  #reads = new Map() // chat_id → {seq, isSent, isDone}
  #readTimer = null
  #typed = new Map()
  #patience
  #outbox
  #outboxKey
  #heirs = new Set() // outboxes to take when their tabs are gone
  #saving = false

  /**
   * `outbox`: a storage where unsent posts outlive the page, for the next one to send; `patience`: the milliseconds after
   * which a server that does not answer is gone.
   * @param {Session} session
   * @param {{server?: string, outbox?: Storage | null, patience?: number}} [options]
   */
  constructor(session, { server = session.server, outbox = null, patience = 10_000 } = {}) {
    super()
    this.#patience = patience
    this.#session = session
    this.#url = `${server.replace(/^http/, 'ws').replace(/\/+$/, '')}/ws`
    this.#outbox = outbox
    this.#outboxKey = `natter.outbox.${random()}`
    session.addEventListener('signedout', ({ detail }) => this.#signedOut(detail))
  }

  /** `closed`, `connecting`, `live`, or `waiting` for the next attempt. */
  get state() {
    return this.#state
  }

  /** The server's welcome: user_id, username, limits…; null before the first. */
  get me() {
    return this.#me
  }

  /** Connects, and stays so until `close()` or a reason that time does not mend. Ends a wait. */
  connect() {
    if (this.#state === 'connecting' || this.#state === 'live') return
    this.#listen()
    this.#open()
  }

  /** Disconnects. Posts that are not answered stay in the outbox. */
  close() {
    this.#stop({ reason: 'closed' })
  }

  /** Where each room is: `{chat_id: {since, epoch}}`. */
  cursors() {
    return Object.fromEntries([...this.#rooms].map(([id, room]) => [id, at(room)]))
  }

  /** The history up to `seq` was loaded: events go on after it. Without this they begin when the room is followed. */
  seen(chat_id, seq, epoch) {
    const room = this.#rooms.get(chat_id)
    if (!room) this.#rooms.set(chat_id, { since: seq, epoch, from: seq, ask: 0 })
    else if (seq > room.since) Object.assign(room, { since: seq, epoch: epoch ?? room.epoch })
    else if (seq < room.from) {
      // There is a hole between the history and the first event that was told.
      Object.assign(room, { since: seq, from: seq })
      if (this.#state === 'live') this.#follow({ [chat_id]: at(room) })
    }
  }

  /**
   * Posts a message, in the order of the room's posts; the same `client_id` is the same message for ever.
   * @returns {Promise<{message_id, seq, sent_at, duplicate}>} rejects with a `Refusal` only where the server said no for
   *   good; it need not be handled: `failed` tells the same
   */
  post(chat_id, content, { client_id = random() } = {}) {
    return this.#commit({ chat_id, client_id, content })
  }

  /**
   * Gives a message of one's own another text, after what was written to the room before; it waits and is sent again as a post is.
   * @returns {Promise<{message_id, seq}>} `seq` is null where it had this text already; rejects as `post` does
   */
  edit(chat_id, message_id, content, { client_id = random() } = {}) {
    return this.#commit({ type: 'edit', chat_id, client_id, message_id, content })
  }

  /**
   * Deletes a message: its text is erased. It waits and is sent again as a post is.
   * @returns {Promise<{message_id, seq}>} `seq` is null where it was deleted before; rejects as `post` does
   */
  delete(chat_id, message_id, { client_id = random() } = {}) {
    return this.#commit({ type: 'delete', chat_id, client_id, message_id })
  }

  #commit(written) {
    const { chat_id } = written
    const known = this.#posts.get(keyOf(written))
    if (known) return known.promise
    const user = this.#session.user?.user_id
    this.#wroteAt = Math.max(Date.now(), this.#wroteAt + 1)
    const post = this.#take({ ...written, at: this.#wroteAt, user })
    if (user) {
      this.#save()
      this.#flush(chat_id)
    } else this.#settle(post, null, signedOut())
    return post.promise
  }

  /** Posts and changes without an answer, in their order: {chat_id, client_id, content, at}, of changes with `type` and `message_id`. */
  pending() {
    const user = this.#session.user?.user_id
    const mine = [...this.#posts.values()].filter(post => post.user === user)
    return mine.map(plain)
  }

  /** This user is writing. Call it at every key: it is sent now and then. */
  typing(chat_id) {
    if (this.#state !== 'live' || now() - (this.#typed.get(chat_id) ?? -TYPING_MS) < TYPING_MS) return
    this.#typed.set(chat_id, now())
    this.#send({ type: 'typing', chat_id })
  }

  /** This user has read a room up to `seq`. */
  read(chat_id, seq) {
    const mark = this.#reads.get(chat_id)
    if (seq <= mark?.seq) return
    this.#reads.set(chat_id, { seq })
    this.#readTimer ??= setTimeout(() => this.#flushReads(), READ_MS)
  }

  // ---- The connection

  async #open() {
    const turn = ++this.#turn
    clearTimeout(this.#timer)
    this.#enter('connecting')
    let token
    try {
      if (this.#doubtful) {
        await this.#session.call('GET', '/users/me')
        this.#answers = true
      }
      token = await this.#session.token(this.#stale)
    } catch (refusal) {
      if (turn !== this.#turn) return
      this.#answers = false
      if (!this.#session.signedIn) return this.#stop({ reason: 'signedout' })
      return this.#again({ code: refusal.status, reason: refusal.message, least: refusal.retryAfter })
    }
    if (turn !== this.#turn) return
    this.#doubtful = false
    let socket
    try {
      socket = new WebSocket(this.#url, ['natter.v1', `bearer.${token}`])
    } catch (error) {
      return this.#stop({ reason: error.message })
    }
    this.#socket = socket
    this.#token = token
    this.#stale = false
    this.#liveAt = this.#pingedAt = 0
    this.#heardAt = this.#lookedAt = now()
    this.#looking = setInterval(() => this.#look(), this.#patience / 2)
    let isOpen = false
    const ended = (code, reason) => {
      if (socket !== this.#socket) return
      // A proxy may also open it and let nothing through.
      if (!isOpen || (!this.#liveAt && code === 1006)) this.#doubtful = true
      this.#ended(code, reason)
    }
    socket.onopen = () => (isOpen = true)
    socket.onmessage = ({ data }) => socket === this.#socket && this.#hear(parse(data))
    socket.onclose = ({ code, reason }) => ended(code, reason)
    // A close with its code follows, but not in every runtime.
    socket.onerror = () => setTimeout(ended, 100, 1006, '')
  }

  #letGo() {
    const socket = this.#socket
    this.#socket = null
    clearInterval(this.#looking)
    clearTimeout(this.#readTimer)
    this.#readTimer = null
    this.#asked.clear()
    this.#queue = []
    for (const post of this.#posts.values()) post.sentAt = 0
    for (const mark of this.#reads.values()) mark.isSent = mark.isDone
    if (socket?.readyState < 2) socket.close(1000)
  }

  #ended(code, reason) {
    const lived = this.#liveAt ? now() - this.#liveAt : 0
    if (code === 4401) this.#stale = this.#token
    this.#letGo()
    if (lived) this.#tries = lived > 10_000 ? 0 : Math.min(this.#tries, 2)
    if (FINAL.has(code)) return this.#stop({ code, reason })
    this.#again({ code, reason, lived })
  }

  #again({ code, reason, lived = 0, least = 0 }) {
    let delay = Math.max(least * 1000, backOff(this.#tries++))
    if (code === 1012) delay = Math.random() * 5_000
    if (code === 4429) delay = 5_000 + backOff(this.#tries)
    if ((code === 1013 || code === 4401) && lived > 5_000) delay = 0
    this.#mayHurry = !least && code !== 1012 && code !== 4429
    this.#timer = setTimeout(() => this.#open(), delay)
    const blocked = this.#answers && this.#doubtful
    this.#enter('waiting', { retryAt: Date.now() + delay, code, reason, ...(blocked && { blocked }) })
  }

  #stop(why) {
    this.#turn++
    clearTimeout(this.#timer)
    this.#letGo()
    this.#listeners?.abort()
    this.#listeners = null
    this.#enter('closed', why)
  }

  #enter(state, more) {
    if (state === this.#state && state === 'closed') return
    this.#state = state
    tell(this, 'state', { state, ...more })
  }

  #listen() {
    if (this.#listeners) return
    this.#listeners = new AbortController()
    const { signal } = this.#listeners
    const on = (target, type, act) => target?.addEventListener?.(type, act, { signal })
    for (const type of ['online', 'offline', 'pageshow', 'focus']) on(globalThis, type, () => this.#hurry())
    on(globalThis.document, 'visibilitychange', () => document.hidden || this.#hurry())
    if (!this.#outbox) return
    locks()?.request(this.#outboxKey, { signal }, () => new Promise(free => signal.addEventListener('abort', free))).catch(() => {})
    // Without locks two living tabs would take each other's for ever.
    if (locks()) on(globalThis, 'storage', () => this.#inherit(signal))
    this.#inherit(signal)
  }

  #signedOut({ reason, user }) {
    this.#rooms.clear()
    this.#reads.clear()
    this.#wasLive = false
    this.#me = null
    this.#stop({ reason: 'signedout' })
    // Such a login may be begun again, and what was written must not be lost then.
    if (reason === 'revoked') return
    for (const post of this.#posts.values()) if (post.user === user.user_id) this.#settle(post, null, signedOut())
  }

  /** The network or the person is back. */
  #hurry() {
    if (this.#state === 'waiting' && this.#mayHurry) this.#open()
    else if (this.#state === 'live' && !this.#pingedAt) this.#ping()
  }

  #ping() {
    this.#pingedAt = now()
    this.#send({ type: 'ping' })
  }

  /** A socket can be dead for long without a close. */
  #look() {
    const at = now()
    // The computer slept: what came meanwhile has still to be heard.
    // Once: the timers of a hidden page are always late.
    const slept = at - this.#lookedAt > this.#patience && !this.#forgiven
    this.#forgiven = slept
    this.#lookedAt = at
    if (slept) this.#pingedAt = 0
    const asked = this.#liveAt ? this.#pingedAt : this.#heardAt
    if (asked && at - asked > this.#patience && !slept) return this.#ended(1006, 'no answer')
    const posts = [...this.#posts.values()].filter(post => post.sentAt)
    if (posts.some(post => at - post.sentAt > POST_MS)) return this.#ended(1006, 'no answer to a post')
    const patience = posts.length || this.#asked.size ? this.#patience / 2 : (this.#me?.ping_seconds ?? 30) * 1000
    if (!this.#liveAt) return
    if (!this.#pingedAt && at - this.#heardAt >= patience) this.#ping()
    this.#authenticate()
  }

  /** Too many frames a second would close the socket (`limits.frames_per_sec`), so some wait a little. */
  #send(frame) {
    if (frame) this.#queue.push(JSON.stringify(frame))
    const at = now()
    this.#allowance = Math.min(200, this.#allowance + ((at - this.#sentAt) * 40) / 1000)
    this.#sentAt = at
    for (; this.#queue.length && this.#allowance >= 1; this.#allowance--) this.#socket?.send(this.#queue.shift())
    if (this.#queue.length) this.#sendTimer ??= setTimeout(() => this.#send((this.#sendTimer = undefined)), 200)
  }

  #ask(frame, done) {
    this.#asked.set(++this.#req, done)
    this.#send({ ...frame, req: this.#req })
    return this.#req
  }

  #hear(frame) {
    this.#heardAt = now()
    this.#pingedAt = 0
    if (!frame) return
    const { type, req, chat_id } = frame
    const post = this.#posts.get(req)
    const done = this.#asked.get(req)
    if (done) {
      this.#asked.delete(req)
      done(frame)
    } else if (type === 'welcome') {
      const { type: _, ...me } = frame
      this.#me = me
      if (this.#session.user?.user_id !== me.user_id) return this.#stop({ reason: 'signedout' })
      this.#subscribe()
    } else if (type === 'posted' || type === 'edited' || type === 'deleted') {
      if (post) this.#settle(post, frame)
    } else if (type === 'error') {
      if (post) this.#refused(post, frame)
      else tell(this, 'refused', frame)
    } else if (type === 'chats') {
      this.#chats(frame)
    } else if (['read', 'typing', 'presence', 'draining'].includes(type)) {
      tell(this, type, frame)
    } else if (chat_id && Number.isInteger(frame.seq)) {
      this.#event(frame)
    }
  }

  /** Shows the socket each new token, and renews it in time. */
  async #authenticate() {
    const socket = this.#socket
    const token = await this.#session.token().catch(() => this.#token)
    if (socket !== this.#socket || token === this.#token) return
    this.#token = token
    this.#ask({ type: 'auth', token }, frame => {
      if (frame.type === 'error' && !passes(frame)) this.#ended(4401, frame.detail)
    })
  }

  // ---- Rooms

  /** All rooms, from where they were left; cursors that do not fit into one frame go in several. */
  #subscribe() {
    const parts = [{}]
    const space = this.#me.limits.frame_bytes - 1_000
    let left = space
    for (const [id, cursor] of this.#rooms) {
      const size = JSON.stringify(at(cursor)).length + id.length + 10
      if ((left -= size) < 0) {
        parts.push({})
        left = space - size
      }
      parts.at(-1)[id] = at(cursor)
    }
    this.#follow(parts[0], { quiet: !this.#wasLive && !this.#rooms.size })
    for (const part of parts.slice(1)) this.#follow(part)
  }

  #follow(chats, all) {
    const ask = all ? { type: 'subscribe', all: true, since: chats } : { type: 'subscribe', chats }
    const req = this.#ask(ask, answer => this.#followed(req, chats, all, answer))
    // Events that come before the answer are of a subscription that is over.
    for (const id in chats) if (this.#rooms.has(id)) this.#rooms.get(id).ask = req
  }

  #followLater(chats, all, { retry_after = 1 }) {
    const socket = this.#socket
    setTimeout(() => socket === this.#socket && this.#follow(chats, all), retry_after * 1000 + backOff(0))
  }

  #followed(req, chats, all, answer) {
    let { chats: begun = {}, errors = {} } = answer
    if (answer.type === 'error') {
      if (passes(answer)) return this.#followLater(chats, all, answer)
      if (all) return this.#stop({ code: answer.code, reason: answer.detail })
      errors = Object.fromEntries(Object.keys(chats).map(id => [id, answer]))
    }
    const added = []
    for (const [id, { head, since, epoch, lossless }] of Object.entries(begun)) {
      const room = this.#rooms.get(id)
      if (!room) {
        this.#rooms.set(id, { since, epoch, from: since, ask: 0 })
        added.push(id)
      } else if (!room.ask || room.ask === req) {
        room.ask = 0
        const isOther = !lossless || (room.epoch ?? epoch) !== epoch
        room.epoch = epoch
        if (isOther) {
          this.#reads.delete(id)
          room.since = room.from = since
          tell(this, 'reload', { chat_id: id, head, epoch })
        } else if (since > room.since) this.#follow({ [id]: at(room) }) // it was followed before its cursor was known
        if (chats[id] === null) added.push(id)
      }
    }
    for (const [id, error] of Object.entries(errors)) {
      const room = this.#rooms.get(id)
      if (passes(error)) this.#followLater({ [id]: room ? at(room) : null }, undefined, error)
      else if (error.code === 'chat_not_found') this.#forget(id)
      else tell(this, 'refused', error)
    }
    if (all) for (const [id, room] of this.#rooms) if (room.ask === req) this.#forget(id) // removed while away
    if (!all?.quiet) for (const chat_id of added) tell(this, 'chats', { type: 'chats', chat_id, change: 'added' })
    if (all && this.#socket) this.#live()
  }

  #live() {
    this.#liveAt = now()
    this.#wasLive = true
    this.#answers = false
    this.#enter('live')
    this.#flush()
    this.#flushReads()
  }

  #forget(chat_id) {
    if (this.#rooms.delete(chat_id)) tell(this, 'chats', { type: 'chats', chat_id, change: 'removed' })
  }

  #chats({ chat_id, change }) {
    if (change === 'invited') return tell(this, 'chats', { type: 'chats', chat_id, change })
    if (change !== 'added') return this.#forget(chat_id)
    const room = this.#rooms.get(chat_id)
    this.#follow({ [chat_id]: room ? at(room) : null })
  }

  #event(frame) {
    const post = this.#posts.get(keyOf(frame))
    const room = this.#rooms.get(frame.chat_id)
    if (!room || room.ask || frame.seq <= room.since) return
    // It cannot be; but if it were, nothing would be lost.
    if (frame.seq > room.since + 1) return this.#follow({ [frame.chat_id]: at(room) })
    room.since = frame.seq
    if (post && (frame.sender ?? frame.by) === this.#me.username) {
      const { message_id, seq, sent_at } = frame
      this.#settle(post, { message_id, seq, sent_at, duplicate: false })
    }
    tell(this, 'event', frame)
  }

  // ---- Posts

  #take(post) {
    post.promise = new Promise((resolve, reject) => Object.assign(post, { resolve, reject, sentAt: 0 }))
    post.promise.catch(() => {})
    this.#posts.set(keyOf(post), post)
    return post
  }

  /** Sends the first post of each room (or of one): the next must not overtake one that is refused for now. */
  #flush(only) {
    if (this.#state !== 'live' || now() < this.#heldUntil) return
    const done = new Set()
    for (const post of [...this.#posts.values()]) {
      const { type = 'post', chat_id, client_id, content, message_id } = post
      if (post.user !== this.#me.user_id || done.has(chat_id) || (only && chat_id !== only)) continue
      if (!post.sentAt) {
        const frame = { type, chat_id, message_id, content, client_id, req: keyOf(post) }
        if (new TextEncoder().encode(JSON.stringify(frame)).length > this.#me.limits.frame_bytes) {
          const detail = `A message may have ${this.#me.limits.message_chars} characters; send it in parts.`
          this.#settle(post, null, new Refusal(413, { code: 'too_large', detail }))
          continue
        }
        post.sentAt = now()
        this.#send(frame)
      }
      if (only) return
      done.add(chat_id)
    }
  }

  #refused(post, { code, detail, retry_after }) {
    if (code === 'invalid_token') return // the socket is about to be closed for it
    if (!passes({ code, retry_after })) return this.#settle(post, null, new Refusal(0, { code, detail, retry_after }))
    post.sentAt = 0
    const delay = Math.max((retry_after ?? 1) * 1000, backOff(this.#holds++))
    this.#heldUntil = now() + delay
    setTimeout(() => this.#flush(), delay + 1)
  }

  #settle(post, answer, refusal) {
    const { type, chat_id, client_id, content } = post
    this.#posts.delete(keyOf(post))
    this.#save()
    if (type) {
      const told = { type, chat_id, client_id, message_id: post.message_id }
      if (answer) {
        post.resolve({ message_id: post.message_id, seq: answer.seq })
        tell(this, 'changed', { ...told, seq: answer.seq })
      } else {
        post.reject(refusal)
        tell(this, 'unchanged', { ...told, content, refusal })
      }
    } else if (answer) {
      const { message_id, seq, sent_at, duplicate } = answer
      this.#holds = 0
      post.resolve({ message_id, seq, sent_at, duplicate })
      tell(this, 'posted', { chat_id, client_id, message_id, seq, sent_at, duplicate })
    } else {
      post.reject(refusal)
      tell(this, 'failed', { chat_id, client_id, content, refusal })
    }
    this.#flush(chat_id)
  }

  #flushReads() {
    this.#readTimer = null
    if (this.#state !== 'live') return
    for (const [chat_id, mark] of this.#reads) {
      if (mark.isSent) continue
      mark.isSent = true
      this.#ask({ type: 'read', chat_id, seq: mark.seq }, frame => {
        mark.isSent = mark.isDone = !passes(frame)
        if (!mark.isDone) this.#readTimer ??= setTimeout(() => this.#flushReads(), 1000)
      })
    }
  }

  #save() {
    if (!this.#outbox || this.#saving) return
    this.#saving = true
    queueMicrotask(() => {
      this.#saving = false
      try {
        this.#write()
      } catch {
        // No room: they are still sent, as long as the page lives.
      }
    })
  }

  #write() {
    const list = [...this.#posts.values()].map(post => ({ ...plain(post), user: post.user }))
    if (list.length) this.#outbox.setItem(this.#outboxKey, JSON.stringify(list))
    else this.#outbox.removeItem(this.#outboxKey)
  }

  /**
   * Takes what tabs that are gone left unsent. A tab holds its outbox's lock while it lives; without locks two tabs may
   * send a post, which is one message all the same.
   */
  #inherit(signal) {
    const outbox = this.#outbox
    const keys = Array.from({ length: outbox.length }, (_, index) => outbox.key(index))
    for (const key of keys) {
      if (!key?.startsWith('natter.outbox.') || key === this.#outboxKey || this.#heirs.has(key)) continue
      this.#heirs.add(key)
      const take = () => {
        this.#heirs.delete(key)
        const left = (parse(outbox.getItem(key)) ?? []).filter(post => !this.#posts.has(keyOf(post)))
        // What was written by a clock that is ahead was written now.
        left.forEach(post => this.#take({ ...post, at: Math.min(post.at, Date.now()) }))
        this.#posts = new Map([...this.#posts].sort(([, a], [, b]) => a.at - b.at))
        try {
          this.#write()
          outbox.removeItem(key)
        } catch {
          // No room for them twice: they stay where they are until they are sent, and are one message all the same.
        }
        this.#flush()
      }
      if (locks()) locks().request(key, { signal }, take).catch(() => this.#heirs.delete(key))
      else take()
    }
  }
}

const plain = ({ type, chat_id, client_id, message_id, content, at }) => ({ type, chat_id, client_id, message_id, content, at })
const at = ({ since, epoch }) => ({ since, epoch })
