// One room as this person sees it: who is in it, how far it has been read, what of its log is in memory, and what was
// written here and is not in the log yet.

/** Events that are loaded at once, and before the first unread one. */
const PAGE = 60
const BEFORE = 25
/** Of a room that nobody looks at, so much stays in memory. */
const AT_REST = 60
const TYPING_MILLIS = 6_000
/** The list of rooms names so many members of each (`limits.listed_members`). */
const LISTED = 50

/** Whose account was deleted is called so. Nobody else can be. */
export const DELETED = 'deleted user'

export class Room {
  /** Own posts that are not in the log yet: { client_id, content, at, state: 'sending' | 'failed', refusal? }. */
  outbox = []
  typists = new Map()
  /** How far the other person of a private room has read. */
  otherRead = 0
  /** Where the "new messages" mark stands: after this seq; null: nowhere. */
  mark = null
  isOpen = false
  head = 0
  read = 0
  unread = 0
  last = null
  online = 0

  constructor(entry, session, me) {
    this.id = entry.chat_id
    this.me = me
    this.log = new Log(session, this.id)
    this.about(entry)
  }

  get isPrivate() { return this.kind === 'private' }
  get other() { return this.users.find(user => user !== this.me) ?? this.me }
  get title() { return this.isPrivate ? this.other : this.name ?? 'Group' }
  get mayPost() { return this.role !== 'reader' && !this.isDeserted }
  /** A private room whose other person has no account any more. */
  get isDeserted() { return this.isPrivate && this.other === DELETED }
  get mayModerate() { return !this.isPrivate && (this.role === 'owner' || this.role === 'moderator') }
  /** `users` are all members; of large groups it has the first ones only. */
  get isListed() { return this.users.length < LISTED }
  get atEnd() { return this.log.last >= this.head }

  /** An entry of the list of rooms. Where events came since it was made, only what does not age is taken. */
  about(entry) {
    this.kind = entry.kind
    this.name = entry.name
    this.users = entry.users
    this.role = entry.role
    this.epoch = entry.epoch
    if (entry.head_seq < this.head) return
    this.head = entry.head_seq
    this.last = entry.last_message
    if (entry.read_seq >= this.read) {
      this.read = entry.read_seq
      this.unread = entry.unread
    }
  }

  /** The next event; false where events are missing before it, so that what is counted here may be wrong. */
  take(event) {
    this.log.append(event)
    if (event.sender === this.me && event.client_id) this.unqueue(event.client_id)
    if (!this.isOpen && this.log.events.length > AT_REST * 2) this.log.keepLast(AT_REST)
    if (event.seq <= this.head) return true
    const dense = event.seq === this.head + 1
    this.head = event.seq
    this[`on_${event.type}`]?.(event)
    return dense
  }

  on_message(event) {
    this.last = event
    this.typists.delete(event.sender)
    if (event.sender === this.me) {
      this.read = event.seq
      this.unread = 0
    } else {
      this.unread++
      if (this.isPrivate) this.otherRead = event.seq
    }
  }

  on_member({ username, change, role }) {
    if (change === 'role' && username === this.me) this.role = role
    else if (change === 'added' && !this.users.includes(username)) this.users = [...this.users, username]
    else if (change === 'removed' || change === 'left' || change === 'declined') this.users = this.users.filter(user => user !== username)
  }

  /** A message as it is loaded here, and as the list of rooms shows it. */
  forms(message_id) {
    const forms = this.log.events.filter(event => event.type === 'message' && event.message_id === message_id)
    if (this.last?.message_id === message_id && !forms.includes(this.last)) forms.push(this.last)
    return forms
  }

  /** Gives a message another look: `form` counts, so that its row is made anew. */
  change(message_id, look) {
    for (const message of this.forms(message_id)) Object.assign(message, look, { form: (message.form ?? 0) + 1 })
  }

  on_edit({ message_id, content, sent_at, deleted }) {
    if (!deleted) this.change(message_id, { content, edited_at: sent_at })
  }

  on_delete({ message_id }) {
    this.change(message_id, { content: '', deleted: true, edited_at: undefined })
  }

  on_chat({ name }) {
    this.name = name
  }

  /** How many messages are unread after `seq`; null where that cannot be told from what is in memory. */
  unreadAfter(seq) {
    if (seq >= this.head) return 0
    if (this.log.covers(seq + 1, this.head)) return this.log.messagesBetween(seq, this.head)
    if (this.log.covers(this.read + 1, seq)) return Math.max(0, this.unread - this.log.messagesBetween(this.read, seq))
    return null
  }

  queued(client_id) {
    return this.outbox.find(post => post.client_id === client_id)
  }

  unqueue(client_id) {
    this.outbox = this.outbox.filter(post => post.client_id !== client_id)
  }

  types(username) {
    this.typists.set(username, performance.now() + TYPING_MILLIS)
  }

  get typing() {
    const now = performance.now()
    return [...this.typists].filter(([, until]) => until > now).map(([username]) => username)
  }
}

/**
 * A stretch of a room's log in memory: its events without a hole between them, from `first` to `last`. It grows at either
 * end, from history and by live events, and is cut at either end so that it stays short.
 */
class Log {
  events = []
  atStart = false
  /** Counts up whenever the stretch is begun anew: an answer to an older question is worth nothing then. */
  life = 0

  constructor(session, chat_id) {
    this.path = `/chat/${chat_id}`
    this.session = session
  }

  get first() { return this.events[0]?.seq ?? 0 }
  get last() { return this.events.at(-1)?.seq ?? 0 }

  covers(from, to) {
    return this.events.length > 0 && from >= this.first && to <= this.last
  }

  /** Messages with from < seq <= to, of what is here. */
  messagesBetween(from, to) {
    let n = 0
    for (let i = this.events.length - 1; i >= 0 && this.events[i].seq > from; i--) {
      const { seq, type, deleted } = this.events[i]
      if (seq <= to && type === 'message' && !deleted) n++
    }
    return n
  }

  reset() {
    this.events = []
    this.atStart = false
    this.life++
  }

  /** The end of the room, or what lies around `seq`. */
  async open(seq = null) {
    const life = ++this.life
    const pages = seq === null ? [this.#page({ limit: PAGE })]
      : [this.#page({ before: seq + 1, limit: BEFORE }), this.#page({ after: seq, limit: PAGE })]
    const [older, newer] = await Promise.all(pages)
    if (life !== this.life) return
    this.events = newer ? [...older.events, ...newer.events] : older.events
    this.atStart = seq !== null && seq < 1 || !older.next_before
  }

  /** The page before the first; how many events it had. */
  async older() {
    const { life } = this
    const { events, next_before } = await this.#page({ before: this.first, limit: PAGE })
    if (life !== this.life || events.length && events.at(-1).seq !== this.first - 1) return 0
    this.events = [...events, ...this.events]
    this.atStart = !next_before
    return events.length
  }

  async newer() {
    const { life } = this
    const { events } = await this.#page({ after: this.last, limit: PAGE })
    if (life !== this.life) return 0
    // A live event may have come meanwhile.
    const fresh = events.filter(event => event.seq > this.last)
    if (fresh.length && fresh[0].seq !== this.last + 1) return 0
    this.events.push(...fresh)
    return fresh.length
  }

  /** A live event, where it is the next one. */
  append(event) {
    if (!this.events.length || event.seq !== this.last + 1) return false
    this.events.push(event)
    return true
  }

  keepLast(n) {
    if (this.events.length <= n) return
    this.events.splice(0, this.events.length - n)
    this.atStart = false
  }

  keepFirst(n) {
    if (this.events.length > n) this.events.length = n
  }

  /** A page of the log, its messages in their latest form: the same page of the history has that. */
  async #page(query) {
    const asked = new URLSearchParams(query)
    const [page, { messages }] = await Promise.all([
      this.session.call('GET', `${this.path}/events?${asked}`),
      this.session.call('GET', `${this.path}?${asked}`),
    ])
    const latest = new Map(messages.map(message => [message.seq, message]))
    for (const event of page.events) if (event.type === 'message') Object.assign(event, latest.get(event.seq))
    return page
  }
}
