// What tells of things one may not see: new messages while one looks elsewhere (the page's title and icon, desktop
// notifications for those who want them), and a connection that is away.

import { h, oncePerFrame, say } from './dom.js'
import { load, save } from './prefs.js'
import { oneLine } from './text.js'
import { isAttentive } from './timeline.js'

/** Another tab may show the message and mark it as read: so long it has for that. */
const GRACE_MILLIS = 700
const AT_ONCE = 3

export class Notifier {
  title = ''
  #waiting = []
  #timer = 0

  constructor(model, open) {
    Object.assign(this, { model, open })
    this.links = document.querySelector('link[rel=icon]')
    this.drawSoon = oncePerFrame(() => this.#draw())
    model.addEventListener('rooms', this.drawSoon)
    model.addEventListener('message', ({ detail }) => this.#heard(detail))
  }

  get isPossible() { return 'Notification' in window && Notification.permission !== 'denied' }
  get isOn() { return load('notify', false) && this.isPossible && Notification.permission === 'granted' }

  get status() {
    if (!('Notification' in window)) return 'This browser has none.'
    if (Notification.permission === 'denied') return 'Your browser does not allow them for this page; its settings can.'
    return this.isOn ? 'On, for messages you are not looking at.' : 'Off in this browser.'
  }

  /** Whether they are on then. */
  async turn(on) {
    if (on && Notification.permission !== 'granted') on = await Notification.requestPermission() === 'granted'
    save('notify', on || undefined)
    return on
  }

  about(title) {
    this.title = title
    this.#draw()
  }

  stop() {
    clearTimeout(this.#timer)
    document.title = 'natter'
    this.#icon('icon.svg')
    navigator.clearAppBadge?.().catch(() => {})
  }

  #draw() {
    if (this.model.signal.aborted) return
    const { unread } = this.model
    const title = [this.title, 'natter'].filter(Boolean).join(' · ')
    document.title = unread ? `(${unread > 999 ? '999+' : unread}) ${title}` : title
    this.#icon(unread ? 'icon-new.svg' : 'icon.svg')
    if (unread !== this.badge) navigator.setAppBadge?.(this.badge = unread).catch(() => {})
  }

  #icon(file) {
    const { href } = new URL(file, import.meta.url)
    if (this.links && this.links.href !== href) this.links.href = href
  }

  #heard({ room, event }) {
    if (!this.isOn || room.isOpen && isAttentive()) return
    if (this.#waiting.length < 1_000) this.#waiting.push({ room, event })
    this.#timer ||= setTimeout(() => this.#show(), GRACE_MILLIS)
  }

  #show() {
    this.#timer = 0
    const waiting = this.#waiting.splice(0).filter(({ room, event }) => room.read < event.seq && !(room.isOpen && isAttentive()))
    if (waiting.length > AT_ONCE) {
      const { room } = waiting.at(-1)
      return this.#notify(`${waiting.length} new messages`, `The latest is in ${room.title}.`, room, 'natter')
    }
    for (const { room, event } of waiting) {
      const who = room.isPrivate ? event.sender : `${event.sender} in ${room.title}`
      this.#notify(who, oneLine(event.content), room, `natter-${room.id}`)
    }
  }

  /** All tabs give a room's notification the same tag, so that it is shown once. */
  #notify(title, body, room, tag) {
    try {
      const note = new Notification(title, { body, tag, icon: new URL('icon.svg', import.meta.url).href })
      note.onclick = () => {
        window.focus()
        this.open(room.id)
        note.close()
      }
    } catch {
      // Some browsers only notify from service workers.
      save('notify', undefined)
    }
  }
}

/** So long a break may last before it is worth a word. */
const PATIENCE_MILLIS = 700

/** What the page saw, and what to do. */
const BLOCKED = 'Not connected: the server answers, but no live connection to it comes about. Something on the way, such as a proxy or ' +
  'a firewall, blocks WebSockets; whoever runs it must let /ws through (“Upgrade: websocket”), or try another network.'

/** The line over everything that says when the connection is away, and when it is tried again. */
export function connectionBanner(natter, signal) {
  const text = h('span', { role: 'status' })
  const again = h('button.link', { type: 'button' }, 'Try now')
  const banner = h('.connection', { hidden: true, data: { testid: 'connection' } }, text, again)
  let since = 0, ticking = 0, due = 0, detail = { state: natter.state }

  again.addEventListener('click', () => detail.state === 'closed' ? location.reload() : natter.connect())

  const draw = () => {
    const { state, reason, blocked } = detail
    const shown = since && performance.now() - since >= PATIENCE_MILLIS
    banner.hidden = !shown
    if (!shown) return
    const seconds = Math.max(0, Math.ceil((due - performance.now()) / 1000))
    if (state === 'closed') say(text, `The connection was closed: ${reason || 'the server does not want this page'}. Reload the page to try again.`)
    else if (state === 'waiting' && blocked) say(text, `${BLOCKED} Next try ${seconds ? `in ${seconds} s` : 'now'}. What you write is sent then.`)
    else if (state === 'waiting') say(text, `${navigator.onLine ? 'Not connected' : 'You are offline'}. Next try ${seconds ? `in ${seconds} s` : 'now'}. What you write is sent then.`)
    else say(text, 'Connecting…')
    say(again, state === 'closed' ? 'Reload' : 'Try now')
    again.hidden = state === 'connecting'
    // A countdown that is read out every second is no help.
    text.setAttribute('aria-live', state === 'waiting' && banner.dataset.said === state ? 'off' : 'polite')
    banner.dataset.said = state
  }

  const change = next => {
    detail = next
    document.documentElement.dataset.connection = next.state
    const isFine = next.state === 'live' || next.state === 'closed' && ['closed', 'signedout'].includes(next.reason)
    since = isFine ? 0 : since || performance.now()
    // The clock may be set while it is waited.
    due = next.retryAt ? performance.now() + next.retryAt - Date.now() : 0
    clearInterval(ticking)
    if (!isFine) ticking = setInterval(draw, 250)
    draw()
  }
  natter.addEventListener('state', event => change(event.detail), { signal })
  signal.addEventListener('abort', () => change({ state: 'closed', reason: 'closed' }))
  document.documentElement.dataset.connection = natter.state
  return banner
}
