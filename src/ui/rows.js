// The rows of a conversation: which there are, in which order, and what each looks like. A message, what happened to the
// room, a date, the mark over what is new, the beginning.

import { h, icon, name } from './dom.js'
import { avatar, day, dayKey, listing, roles, time, tone, wholeTime } from './names.js'
import { isLong, isOnlyEmoji, nodesOf } from './text.js'

const states = {
  sending: ['clock', 'Sending'],
  waiting: ['clock', 'Will be sent when you are connected'],
  sent: ['check', 'Sent'],
  read: ['checks', 'Read'],
}

/** Messages of one person follow each other without face and name for so long. */
const GROUP_MILLIS = 5 * 60_000

/** When it was, read once. */
const when = event => event.at ??= new Date(event.sent_at)
/** The same was done to several people by one: it is told in one line. */
const isSameChange = (a, b) => a.type === 'member' && b.type === 'member' && a.by !== a.username && b.by !== b.username
  && ['by', 'change', 'role'].every(key => a[key] === b[key])
/** A type of event that is not known here shows nothing, nor does that whoever starts a group is its first member. */
const isShown = ({ type, seq, by, username }) => type === 'chat' || type === 'member' && !(seq === 2 && by === username)

/**
 * What the page shows of a room's log, in order: [key, how to make it]. A row is made anew when its key changes.
 * `editing`: the message that is being edited, and its field. `errors`: why there is nothing older or newer; `again(which)` tries that once more.
 */
export function rowsOf(room, model, errors, again, editing) {
  const { log, mark } = room
  const rows = []
  let day = '', last = null, run = [], receiptAt = 0
  let isMarked = mark === null || !(log.atStart || log.first <= mark + 1)

  const dateOf = at => {
    if (dayKey(at) === day) return
    day = dayKey(at)
    last = null
    rows.push([`day:${day}:${dayKey(new Date())}`, () => dateRow(at)])
  }
  const message = (message, post) => {
    const { sender, seq, client_id } = message
    const at = when(message)
    dateOf(at)
    if (!isMarked && seq > mark && sender !== room.me) {
      isMarked = true
      last = null
      rows.push([`new:${mark}`, newRow])
    }
    const isHead = last?.sender !== sender || at - last.at > GROUP_MILLIS
    const id = client_id && sender === room.me ? `own:${client_id}` : seq
    if (editing && editing.message_id === message.message_id) rows.push([`edit:${id}`, () => editing.element])
    else rows.push([`${id}:${isHead}:${post?.state}:${message.form ?? message.edited_at}`, () => messageRow(message, { isHead, room, post, model })])
    receiptAt = rows.length
    last = message
    run = []
  }
  const happening = event => {
    if (run.length && isSameChange(run[0], event)) rows.pop()
    else {
      dateOf(when(event))
      run = []
    }
    run = [...run, event]
    last = null
    const events = run
    rows.push([`event:${events[0].seq}-${event.seq}`, () => eventRow(events)])
  }
  const more = which => rows.push([`${which}:${errors[which]}`, () => moreRow(errors[which], () => again(which))])

  if (log.atStart) rows.push([`start:${room.title}`, () => beginningRow(room)])
  else more('older')
  for (const event of log.events) {
    if (event.type === 'message') message(event)
    else if (!room.isPrivate && isShown(event)) happening(event)
  }
  if (!room.atEnd) {
    more('newer')
    return rows
  }
  const known = new Set(room.outbox.length ? log.events.map(event => event.client_id) : [])
  const waiting = room.outbox.filter(post => !known.has(post.client_id))
  for (const post of waiting) message({ ...post, sender: room.me, at: new Date(post.at) }, post)
  const state = receipt(room, waiting, model)
  if (state) rows.splice(receiptAt, 0, [`receipt:${state}`, () => receiptRow(state)])
  return rows
}

/** What has become of the last message, where it is one's own. */
function receipt(room, waiting, model) {
  if (waiting.some(post => post.state === 'sending')) return model.natter.state === 'live' ? 'sending' : 'waiting'
  const last = room.log.events.findLast(event => event.type === 'message')
  if (waiting.length || last?.sender !== room.me) return null
  return room.isPrivate && room.otherRead >= last.seq ? 'read' : 'sent'
}

/** `at`: when; `isHead`: the first of a group has the face and the name. `post` is one that is not in the log yet. */
function messageRow(message, { isHead, room, post, model }) {
  const { sender, content, at, seq, client_id, edited_at } = message
  const mine = sender === room.me
  const gone = message.deleted || message.leaving
  const text = h('.content', { dir: 'auto', data: { testid: 'content' } }, gone ? 'Message deleted' : nodesOf(content, { names: room.users, me: room.me }))
  if (isOnlyEmoji(content)) text.classList.add('pictures')
  const row = h('article.message', {
    'aria-label': `${sender}, ${time(at)}`,
    class: `${isHead ? 'head' : ''} ${mine ? 'mine' : ''} ${gone ? 'gone' : ''}`,
    tabindex: seq ? '-1' : null,
    data: { testid: 'message', sender, state: post?.state ?? 'sent', ...seq && { seq }, ...client_id && { client: client_id } },
  })
  const stamp = h('time', { datetime: at.toISOString(), title: wholeTime(at) }, time(at))
  if (isHead) row.append(avatar(sender), h('.byline', h('span.sender', { class: tone(sender) }, name(sender)), stamp), text)
  else row.append(h('.gutter', { 'aria-hidden': 'true' }, stamp), text)
  if (message.leaving && !message.deleted) text.append(' ', h('button.link', { type: 'button', onclick: () => model.undelete(room, message) }, 'Undo'))
  if (edited_at && !gone) text.append(' ', h('span.edited', { title: wholeTime(new Date(edited_at)) }, 'edited'))
  if (isLong(content)) row.append(fold(text))
  if (post?.state === 'failed') row.append(failure(room, post, model))
  return row
}

/** A long text is cut until it is asked for. */
function fold(text) {
  text.classList.add('folded')
  const toggle = h('button.link.unfold', {
    type: 'button',
    'aria-expanded': 'false',
    onclick() {
      const folded = text.classList.toggle('folded')
      toggle.setAttribute('aria-expanded', String(!folded))
      toggle.textContent = folded ? 'Show all' : 'Show less'
    },
  }, 'Show all')
  return toggle
}

const failure = (room, post, model) => h('.failure', { role: 'alert' },
  icon('alert', 16), h('span', `Not sent. ${post.refusal ?? ''}`),
  h('button.link', { type: 'button', onclick: () => model.retry(room, post) }, 'Try again'),
  h('button.link', { type: 'button', onclick: () => model.discard(room, post) }, 'Discard'))

/** Under the last message, where it is one's own: what has become of it. */
const receiptRow = state =>
  h('.receipt', { data: { testid: 'receipt', state } }, icon(states[state][0], 15), h('span', states[state][1]))

const dateRow = at => h('.date', { data: { testid: 'date' } }, h('h2', day(at)))

const newRow = () => h('.new', { role: 'separator', 'aria-label': 'New messages' }, h('span', 'New'))

/** Events that follow each other and say the same about several people come as one. */
function eventRow(events) {
  const { type, seq, change } = events.at(-1)
  const says = type === 'chat' ? renamed(events[0]) : member(events)
  const drawing = type === 'chat' ? 'pen' : { added: 'join', removed: 'leave', left: 'leave', role: 'shield' }[change] ?? 'info'
  return h('.event', { data: { testid: 'event', seq } }, icon(drawing, 16), h('span', says))
}

const renamed = ({ by, name: to, seq }) =>
  seq === 1 ? [name(by), ' started ', name(to)] : [name(by), ' named the group ', name(to)]

function member(events) {
  const { by, username, change, role } = events[0]
  const names = name(listing([...new Set(events.map(event => event.username))], 4))
  const says = {
    added: by === username ? [name(by), ' joined'] : [name(by), ' added ', names, role === 'member' || !role ? '' : ` as ${roles[role]?.toLowerCase() ?? role}`],
    removed: [name(by), ' removed ', names],
    left: [names, ' left'],
    invited: [name(by), ' invited ', names],
    declined: [names, ' declined'],
    role: [name(by), ' made ', names, ` ${role === 'owner' ? 'an' : 'a'} ${roles[role]?.toLowerCase() ?? role}`],
  }
  return says[change] ?? [name(by), ' changed the members']
}

function beginningRow(room) {
  const about = room.isPrivate
    ? ['This is the beginning of your chat with ', name(room.title), '. Only the two of you can read it.']
    : ['This is the beginning of ', name(room.title), '.']
  return h('.beginning', { data: { testid: 'beginning' } },
    avatar(room.title, { group: !room.isPrivate, size: 'large' }), h('h2', name(room.title)), h('p', about))
}

/** At an end of what is loaded. */
export const moreRow = (text, retry) => h('.loading', text
  ? [h('span', text), h('button.link', { type: 'button', onclick: retry }, 'Try again')]
  : [h('span.spinner', { 'aria-hidden': 'true' }), h('span.unseen', 'Loading messages')])
