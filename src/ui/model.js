// Everything the client knows: the rooms of this person, who is online, what was sent. It hears natter.js and the
// REST API, keeps the rooms up to date, and tells the views what has changed; it knows no elements.
//
// Events: 'rooms' (order, names, counts), 'room' { room, what } (what: 'log', 'outbox', 'typing', 'read', 'about',
// 'presence', 'reset'), 'message' { room, event } (somebody else wrote), 'gone' { room }, 'refused' { text }.

import { Room } from './room.js'
import { load, save } from './prefs.js'

const ROOMS_PAGE = 500
/** So long a deletion can be undone. */
const UNDO_MILLIS = 6_000
/** Events that say nothing of the room itself. */
const LOG = new Set(['message', 'edit', 'delete'])
/** Events kept for rooms that are not in the list yet. */
const EARLY = 500

export class Model extends EventTarget {
  rooms = new Map()
  /** Groups that one is asked to join: { id, name, by }, the latest first. */
  invitations = []
  online = new Set()
  loaded = false
  #clock = 0
  #early = new Map()
  #failedHere = new Set()
  #over = new AbortController()

  constructor(session, natter, me) {
    super()
    Object.assign(this, { session, natter, me })
    this.failedKey = `failed.${me.user_id}`
    const on = (type, act) => natter.addEventListener(type, event => act.call(this, event.detail), this)
    on('event', this.#event)
    on('reload', this.#reload)
    on('chats', this.#chats)
    on('read', this.#read)
    on('typing', this.#typing)
    on('presence', this.#presence)
    on('posted', this.#posted)
    on('unchanged', this.#unchanged)
    on('failed', this.#failed)
    on('state', this.#state)
  }

  /** Loads the list of rooms, then follows them from there. */
  async start() {
    await this.refresh()
    for (const { chat_id, ...post } of load(this.failedKey, [])) {
      this.rooms.get(chat_id)?.outbox.push(post)
      this.#failedHere.add(post.client_id)
    }
    this.loaded = true
    this.blocked().catch(() => {})
    this.natter.connect()
    this.#tell('rooms')
  }

  stop() {
    this.#over.abort()
    this.natter.close()
  }

  /** Aborted when nobody is signed in any more: for listeners that must not outlive that. */
  get signal() { return this.#over.signal }
  get username() { return this.me.username }
  get isAdmin() { return this.me.roles.some(role => role.role_name === 'admin') }
  get unread() { return [...this.rooms.values()].reduce((sum, room) => sum + room.unread, 0) }

  /** Latest activity first. */
  sorted() {
    return [...this.rooms.values()].sort((a, b) => b.active - a.active)
  }

  /** The list of rooms anew; what is not in it any more is gone. */
  async refresh() {
    const seen = new Set()
    const invitations = []
    let after
    do {
      const query = new URLSearchParams({ limit: ROOMS_PAGE, ...after && { after } })
      const { chats, next } = await this.session.call('GET', `/chat/my-chats?${query}`)
      for (const entry of chats) {
        if (entry.state === 'invited') {
          invitations.push({ id: entry.chat_id, name: entry.name ?? 'Group', by: entry.by })
          continue
        }
        const room = this.rooms.get(entry.chat_id)
        if (room) room.about(entry)
        else this.#adopt(entry)
        const known = this.rooms.get(entry.chat_id)
        if (known.head <= entry.head_seq) known.active = -seen.size
        seen.add(entry.chat_id)
      }
      after = next
    } while (after)
    this.invitations = invitations
    for (const room of this.rooms.values()) if (!seen.has(room.id)) this.#drop(room.id)
    for (const chat_id of this.#early.keys()) if (!seen.has(chat_id)) this.#early.delete(chat_id)
    this.#tell('rooms')
  }

  #refreshing = null
  /** One refresh at a time, and one more after it where it was asked for meanwhile. */
  refreshSoon() {
    if (this.#refreshing) {
      this.#again = true
      return this.#refreshing
    }
    this.#refreshing = this.refresh()
      .catch(refusal => { if (refusal.status) this.#tell('refused', { text: refusal.message }) })
      .finally(() => {
        this.#refreshing = null
        if (this.#again) {
          this.#again = false
          this.refreshSoon()
        }
      })
    return this.#refreshing
  }
  #again = false

  /** One's own account: another tab or an admin may have changed it. */
  async refreshMe() {
    try {
      Object.assign(this.me, await this.session.call('GET', '/users/me'))
      this.#tell('rooms')
    } catch {
      // What is known of it still holds.
    }
  }

  /** A room by its id, looked for on the server where it is new. */
  async find(chat_id) {
    if (!this.rooms.has(chat_id)) await this.refreshSoon()
    return this.rooms.get(chat_id)
  }

  send(room, content) {
    const post = { client_id: newId(), content, at: Date.now(), state: 'sending' }
    room.outbox = [...room.outbox, post]
    room.mark = null
    this.#tell('room', { room, what: 'outbox' })
    this.#post(room, post)
  }

  retry(room, post) {
    post.state = 'sending'
    this.#rememberFailed()
    this.#tell('room', { room, what: 'outbox' })
    this.#post(room, post)
  }

  discard(room, post) {
    room.unqueue(post.client_id)
    this.#rememberFailed()
    this.#tell('room', { room, what: 'outbox' })
  }

  /** At once here; the server has it once it is connected. */
  edit(room, { message_id, content: before, edited_at }, content) {
    if (content === before) return
    room.change(message_id, { content, edited_at: new Date().toISOString(), before: { content: before, edited_at } })
    this.#tell('room', { room, what: 'log' })
    this.#tell('rooms')
    this.natter.edit(room.id, message_id, content)
  }

  /** It can be undone for a while, and is erased then. */
  delete(room, { message_id }) {
    const act = () => {
      clearTimeout(timer)
      this.#leaving.delete(message_id)
      this.natter.delete(room.id, message_id)
    }
    const timer = setTimeout(act, UNDO_MILLIS)
    this.#leaving.set(message_id, { timer, act })
    room.change(message_id, { leaving: true })
    this.#tell('room', { room, what: 'log' })
  }
  #leaving = new Map()

  undelete(room, { message_id }) {
    clearTimeout(this.#leaving.get(message_id)?.timer)
    if (!this.#leaving.delete(message_id)) return
    room.change(message_id, { leaving: false })
    this.#tell('room', { room, what: 'log' })
  }

  /** The page goes: what was to be deleted is, by the next one where need be. */
  settle() {
    for (const { act } of [...this.#leaving.values()]) act()
  }

  mayDelete(room, { sender }) {
    return sender === this.username || room.mayModerate
  }

  /** A change was refused: the message is as it was. */
  #unchanged({ chat_id, message_id, type, content, refusal }) {
    const room = this.rooms.get(chat_id)
    if (room && type === 'delete') room.change(message_id, { leaving: false })
    else if (room) for (const message of room.forms(message_id)) if (message.content === content && message.before) room.change(message_id, message.before)
    if (room) this.#tell('room', { room, what: 'log' })
    if (refusal.code !== 'deleted') this.#tell('refused', { text: refusal.message })
  }

  #post(room, { client_id, content }) {
    // Its outcome comes as an event, also for posts of an earlier life of this page.
    this.natter.post(room.id, content, { client_id })
  }

  /** Everything up to `seq` has been on the screen. */
  read(room, seq) {
    if (this.#moveRead(room, Math.min(seq, room.head))) this.natter.read(room.id, room.read)
  }

  typing(room) {
    this.natter.typing(room.id)
  }

  /** How far the other person of a private room has read. */
  async loadOtherRead(room) {
    const { members } = await this.session.call('GET', `/chat/${room.id}/members`)
    const other = members.find(member => member.username !== this.username)
    if (other && other.read_seq > room.otherRead) {
      room.otherRead = other.read_seq
      this.#tell('room', { room, what: 'read' })
    }
  }

  /** Accepts or declines an invitation. */
  async answer({ id }, accepts) {
    await this.session.call('POST', `/chat/${id}/${accepts ? 'join' : 'decline'}`)
    this.invitations = this.invitations.filter(one => one.id !== id)
    this.#tell('rooms')
    if (accepts) await this.find(id)
  }

  /** A private room leaves the list until somebody writes there. */
  async hide(room) {
    await this.session.call('POST', `/chat/${room.id}/hide`)
    this.#hidden.add(room.id)
    this.#drop(room.id)
  }
  #hidden = new Set()

  /** Whom one blocks; all of them. */
  async blocked() {
    const all = []
    let after
    do {
      const query = new URLSearchParams({ limit: 500, ...after && { after } })
      const { users, next } = await this.session.call('GET', `/users/me/blocks?${query}`)
      all.push(...users.map(user => user.username))
      after = next
    } while (after)
    this.blocks = new Set(all)
    return all
  }
  blocks = new Set()

  async block(username, on) {
    if (on) await this.session.call('POST', '/users/me/blocks', { username })
    else await this.session.call('DELETE', `/users/me/blocks/${encodeURIComponent(username)}`)
    if (on) this.blocks.add(username)
    else this.blocks.delete(username)
    this.#tell('rooms')
  }

  /** Opens the private room with somebody, or makes it; its id. */
  async privateWith(username) {
    try {
      const { chat_id } = await this.session.call('POST', '/chat/new', { username })
      return chat_id
    } catch (refusal) {
      if (refusal.code === 'chat_exists') return refusal.detail.chat_id
      throw refusal
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }))
  }

  #adopt(entry) {
    const room = new Room(entry, this.session, this.username)
    this.rooms.set(room.id, room)
    this.natter.seen(room.id, entry.head_seq, entry.epoch)
    const early = this.#early.get(room.id) ?? []
    this.#early.delete(room.id)
    early.forEach(event => this.#event(event))
  }

  #drop(chat_id) {
    const room = this.rooms.get(chat_id)
    if (!room) return
    this.rooms.delete(chat_id)
    this.#rememberFailed()
    this.#tell('gone', { room, hidden: this.#hidden.delete(chat_id) })
    this.#tell('rooms')
  }

  #event(event) {
    const room = this.rooms.get(event.chat_id)
    if (!room) {
      const early = this.#early.get(event.chat_id) ?? []
      early.push(event)
      this.#early.set(event.chat_id, early.slice(-EARLY))
      return this.refreshSoon()
    }
    const isNew = event.seq > room.head
    if (!room.take(event)) this.refreshSoon()
    if (isNew) room.active = ++this.#clock
    // What was unread, and what the list shows, may be gone.
    if (event.type === 'delete') this.refreshSoon()
    this.#tell('room', { room, what: LOG.has(event.type) ? 'log' : 'about' })
    this.#tell('rooms')
    if (isNew && event.type === 'message' && event.sender !== this.username) this.#tell('message', { room, event })
  }

  /** The log is another one than the cursor was for, or no longer reaches back. */
  #reload({ chat_id, head, epoch }) {
    const room = this.rooms.get(chat_id)
    if (!room) return this.refreshSoon()
    Object.assign(room, { head, epoch, read: 0, otherRead: 0, mark: null })
    room.log.reset()
    this.refreshSoon().then(() => this.#tell('room', { room, what: 'reset' }))
  }

  #chats({ chat_id, change }) {
    if (change === 'removed') this.#drop(chat_id)
    else this.refreshSoon()
  }

  #read({ chat_id, username, read_seq }) {
    const room = this.rooms.get(chat_id)
    if (!room) return
    if (username !== this.username) {
      room.otherRead = Math.max(room.otherRead, read_seq)
      return this.#tell('room', { room, what: 'read' })
    }
    this.#moveRead(room, read_seq)
  }

  #moveRead(room, seq) {
    if (seq <= room.read) return false
    const unread = room.unreadAfter(seq)
    room.read = seq
    if (unread !== null) room.unread = unread
    else this.#askUnread(room, seq)
    this.#tell('room', { room, what: 'read' })
    this.#tell('rooms')
    return true
  }

  async #askUnread(room, seq) {
    try {
      const { read_seq, unread } = await this.session.call('POST', `/chat/${room.id}/read`, { seq })
      if (read_seq !== room.read) return
      room.unread = unread
      this.#tell('rooms')
    } catch {
      // The count is right again with the next mark.
    }
  }

  #typing({ chat_id, username }) {
    const room = this.rooms.get(chat_id)
    if (!room || username === this.username) return
    room.types(username)
    this.#tell('room', { room, what: 'typing' })
  }

  #presence({ chat_id, online, users }) {
    const room = this.rooms.get(chat_id)
    if (room) room.online = online
    for (const [username, here] of Object.entries(users ?? {})) {
      if (here === 'online') this.online.add(username)
      else this.online.delete(username)
    }
    if (room) this.#tell('room', { room, what: 'presence' })
    this.#tell('rooms')
  }

  #posted({ chat_id, client_id, seq }) {
    const room = this.rooms.get(chat_id)
    if (!room) return
    // Its event takes its place on the screen; where that has come already, or will not be shown, it is done.
    if (seq <= room.head || !room.atEnd) room.unqueue(client_id)
    this.#tell('room', { room, what: 'outbox' })
  }

  #failed({ chat_id, client_id, content, refusal }) {
    const room = this.rooms.get(chat_id)
    if (!room) return
    let post = room.queued(client_id)
    // One that another tab left is seen here for the first time.
    if (!post) room.outbox = [...room.outbox, post = { client_id, content, at: Date.now() }]
    post.state = 'failed'
    post.refusal = refusal.message
    this.#rememberFailed()
    this.#tell('room', { room, what: 'outbox' })
  }

  /** What the server refused is kept until it is tried again or discarded, also over a reload. */
  #rememberFailed() {
    const failed = []
    for (const room of this.rooms.values()) {
      for (const post of room.outbox) if (post.state === 'failed') failed.push({ chat_id: room.id, ...post })
    }
    for (const { client_id } of failed) this.#failedHere.add(client_id)
    // Other tabs have theirs in the same list.
    const others = load(this.failedKey, []).filter(({ client_id }) => !this.#failedHere.has(client_id))
    const all = [...others, ...failed]
    save(this.failedKey, all.length ? all : undefined)
  }

  #state({ state }) {
    if (state !== 'live') this.online.clear()
    else {
      this.refreshMe()
      // The first room may have been made just before the socket followed all.
      if (!this.rooms.size) this.refreshSoon()
    }
    // What an earlier life of this page, or a tab that is gone, had not sent yet is sent by this one.
    for (const { chat_id, client_id, content, at, type } of this.natter.pending()) {
      if (type) continue
      const room = this.rooms.get(chat_id)
      if (room && !room.queued(client_id)) room.outbox = [...room.outbox, { client_id, content, at, state: 'sending' }]
    }
    for (const room of this.rooms.values()) if (room.outbox.length) this.#tell('room', { room, what: 'outbox' })
    this.#tell('rooms')
  }
}

/** `crypto.randomUUID` is only there on https and localhost. */
function newId() {
  if (crypto.randomUUID) return crypto.randomUUID()
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('')
}
