// The messages of a room on the screen. A room may have any number of them: only a stretch of some hundreds is in the
// page, and it moves with the reader. Whatever is put in front, added behind or dropped, what is being read stays
// where it is; who is at the end stays at the end.

import { MessageActions } from './actions.js'
import { announce, h, icon, oncePerFrame, say } from './dom.js'
import { count } from './names.js'
import { moreRow, rowsOf } from './rows.js'
import { oneLine } from './text.js'

/** Events on the page at most (after a draw), and how many stay on each side of what is seen when it is cut. */
const MOST = 300
const SIDE = 120
/** When more than so many come between two frames, only the newest of them are drawn. */
const BURST = 100
/** Pixels from the end that still count as the end. */
const NEAR = 32

export const isAttentive = () => !document.hidden && document.hasFocus()

export class Timeline {
  room = null
  following = true
  #drawn = new Map()
  #busy = { older: false, newer: false }
  #errors = { older: '', newer: '' }
  #heard = []
  #place = null
  #drawnLast = 0
  #readTimer = 0

  /** `write()` puts the focus where one writes. */
  constructor(model, { write }) {
    this.model = model
    this.actions = new MessageActions(this, write)
    this.rows = h('.rows')
    this.scroller = h('.scroller', { role: 'log', 'aria-label': 'Messages', 'aria-live': 'off', tabindex: '0' }, this.rows)
    this.jumpText = h('span')
    this.jump = h('button.jump', { type: 'button', hidden: true, data: { testid: 'jump' }, onclick: () => this.toEnd() },
      icon('down', 18), this.jumpLead = h('span.about'), this.jumpText)
    this.element = h('.timeline', this.scroller, this.jump)
    this.drawSoon = oncePerFrame(() => this.room && this.#draw())
    const lookSoon = oncePerFrame(() => this.room && this.#look())
    this.scroller.addEventListener('scroll', lookSoon, { passive: true })
    this.scroller.addEventListener('keydown', event => {
      if (event.key === 'End' && !event.ctrlKey && !event.altKey) this.toEnd()
    })
    this.actions.listen()
    addEventListener('focus', lookSoon, model)
    document.addEventListener('visibilitychange', lookSoon, model)
    const watch = new ResizeObserver(() => this.#resized())
    watch.observe(this.scroller)
    watch.observe(this.rows)
  }

  /** Opens a room at its first unread message, or at its end. */
  async show(room, seq = null) {
    this.hide()
    this.room = room
    room.isOpen = true
    await this.#begin(seq)
  }

  /** To one event, which lights up for a moment. */
  async goTo(seq) {
    if (!this.room.log.covers(seq, seq)) return this.#begin(seq)
    this.following = false
    this.#light(seq)
  }

  #light(seq) {
    const row = [...this.rows.children].findLast(row => Number(row.dataset.seq) <= seq && row.dataset.seq)
    if (!row) return
    row.scrollIntoView({ block: 'center' })
    row.classList.add('lit')
    row.focus({ preventScroll: true })
    setTimeout(() => row.classList.remove('lit'), 1_600)
    this.#look()
  }

  hide() {
    const { room } = this
    if (!room) return
    room.isOpen = false
    room.mark = null
    if (room.atEnd) room.log.keepLast(60)
    else room.log.reset()
    this.room = null
    this.#clear()
  }

  #clear() {
    this.#drawn.clear()
    this.rows.replaceChildren()
    this.#place = null
    this.jump.hidden = true
    this.#errors = { older: '', newer: '' }
    this.#busy = { older: false, newer: false }
    this.#heard = []
    this.actions.clear()
  }

  /** At the first unread message, or at the end; or around `seq`. */
  async #begin(seq = null) {
    const { room } = this
    const { log } = room
    const unread = room.unread > 0
    room.mark = unread ? room.read : null
    const here = seq !== null ? log.covers(seq, seq) : log.events.length && room.atEnd && (!unread || log.first <= room.read || log.atStart)
    if (!here) {
      log.reset()
      this.rows.replaceChildren(...Array.from({ length: 6 }, () => h('.ghost', { 'aria-hidden': 'true' }, h('span'), h('p'))))
      try {
        await log.open(seq !== null ? seq - 1 : unread ? room.read : null)
      } catch (refusal) {
        if (room !== this.room) return
        this.rows.replaceChildren(moreRow(refusal.message, () => this.#begin(seq)))
        return
      }
      if (room !== this.room) return
    }
    this.#clear()
    this.following = !unread && seq === null
    this.#draw()
    if (seq !== null) return this.#light(seq)
    const mark = this.rows.querySelector('.new')
    if (mark) this.scroller.scrollTop = Math.max(0, mark.offsetTop - this.scroller.clientHeight * 0.3)
    else this.#scrollToEnd()
    this.#look()
  }

  /** The log in memory was begun anew. */
  reset() {
    this.#begin()
  }

  /** Somebody else wrote into this room. */
  hear(event) {
    const { room } = this
    if (room.unread === 1 && !(this.following && isAttentive())) room.mark = event.seq - 1
    this.#heard.push(event)
    this.#readTimer ||= setTimeout(() => this.#readHeard(), 700)
  }

  /** A few are read out, of many only how many. */
  #readHeard() {
    this.#readTimer = 0
    const heard = this.#heard.splice(0)
    if (heard.length > 3) announce(`${heard.length} new messages`)
    else for (const { sender, content } of heard) announce(`${sender}: ${oneLine(content)}`)
  }

  /** The end of the room, whatever lies between. */
  async toEnd({ smooth = true } = {}) {
    const { room } = this
    if (!room) return
    if (!room.atEnd) {
      try {
        await room.log.open()
      } catch (refusal) {
        this.#errors.newer = refusal.message
      }
      if (room !== this.room) return
      smooth = false
    }
    const far = this.#below() > this.scroller.clientHeight * 3
    this.following = room.atEnd
    this.#draw()
    if (smooth && !far && !matchMedia('(prefers-reduced-motion: reduce)').matches) {
      this.scroller.scrollTo({ top: this.scroller.scrollHeight, behavior: 'smooth' })
    } else this.#scrollToEnd()
    this.#look()
  }

  /** Everything here is read, and the mark goes. */
  markRead() {
    if (!this.room) return
    this.room.mark = null
    this.model.read(this.room, this.room.head)
    this.toEnd({ smooth: false })
  }

  scrollBy(pages) {
    this.scroller.scrollBy({ top: pages * this.scroller.clientHeight * 0.85 })
  }

  #below() {
    return this.scroller.scrollHeight - this.scroller.clientHeight - this.scroller.scrollTop
  }

  #scrollToEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight
  }

  /** After a scroll, a draw or a change of focus: what is near is loaded, what was seen is read. */
  #look() {
    const { room, scroller } = this
    const { log } = room
    if (!log.events.length) return
    const below = this.#below()
    this.following = room.atEnd && below <= NEAR
    if (!log.atStart && !this.#errors.older && scroller.scrollTop < scroller.clientHeight * 1.5) this.#load('older')
    if (!room.atEnd && !this.#errors.newer && below < scroller.clientHeight * 1.5) this.#load('newer')
    if (isAttentive()) this.model.read(room, this.following ? room.head : this.#seen().last)
    this.#place = this.following ? null : this.#anchors()
    this.#drawJump(below)
  }

  #drawJump(below) {
    const { room } = this
    this.jump.hidden = this.following || room.atEnd && below < 160 && !room.unread
    say(this.jumpLead, room.unread ? 'Jump to latest, ' : '')
    say(this.jumpText, room.unread ? count(room.unread, 'new message', 'new messages') : 'Jump to latest')
    this.jump.classList.toggle('fresh', room.unread > 0)
  }

  async #load(which) {
    const { room } = this
    const busy = this.#busy
    if (busy[which]) return
    busy[which] = true
    try {
      await room.log[which]()
      this.#errors[which] = ''
    } catch (refusal) {
      this.#errors[which] = refusal.message
    }
    busy[which] = false
    if (room !== this.room || busy !== this.#busy) return
    this.#draw()
  }

  /** The first and last seq on the screen. */
  #seen() {
    const { top, bottom } = this.scroller.getBoundingClientRect()
    const children = this.rows.children
    let first = 0, last = 0
    for (let i = this.#firstBelow(top); i < children.length; i++) {
      const box = children[i].getBoundingClientRect()
      if (box.top > bottom) break
      const seq = Number(children[i].dataset.seq ?? 0)
      first ||= seq
      // A row counts as read when its end, or most of the screen, has been seen.
      if (seq && (box.bottom <= bottom + 8 || box.height > bottom - top)) last = seq
    }
    return { first, last }
  }

  /** Index of the first row that ends below `y`: rows lie under each other, so halving finds it. */
  #firstBelow(y) {
    const children = this.rows.children
    let low = 0, high = children.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (children[middle].getBoundingClientRect().bottom > y) high = middle
      else low = middle + 1
    }
    return low
  }

  /** Some rows on the screen and where they stand; the topmost last, because its head may change. */
  #anchors() {
    const { top } = this.scroller.getBoundingClientRect()
    const from = this.#firstBelow(top)
    const rows = [...this.rows.children].slice(from, from + 8).filter(row => row.dataset.seq)
    return [...rows.slice(1), ...rows.slice(0, 1)].map(row => [row, row.getBoundingClientRect().top - top])
  }

  #restore(anchors) {
    const found = anchors?.find(([row]) => row.isConnected)
    if (!found) return
    const [row, was] = found
    const moved = row.getBoundingClientRect().top - this.scroller.getBoundingClientRect().top - was
    if (moved) this.scroller.scrollTop += moved
  }

  #resized() {
    if (!this.room) return
    if (this.following) this.#scrollToEnd()
    else this.#restore(this.#place)
  }

  draw() {
    if (this.room) this.#draw()
  }

  /** The page as the log is now, the reader's place kept. */
  #draw() {
    const { room } = this
    const { log } = room
    if (!log.events.length) return
    const anchors = this.following ? null : this.#anchors()
    this.#trim()
    const items = rowsOf(room, this.model, this.#errors, which => this.#again(which), this.actions.editing)
    const wanted = new Set(items.map(([key]) => key))
    for (const [key, row] of this.#drawn) {
      if (wanted.has(key)) continue
      row.remove()
      this.#drawn.delete(key)
    }
    let at = this.rows.firstChild
    for (const [key, make] of items) {
      let row = this.#drawn.get(key)
      if (!row) this.#drawn.set(key, row = make())
      if (row === at) at = at.nextSibling
      else this.rows.insertBefore(row, at)
    }
    this.#drawnLast = log.last
    if (this.following) this.#scrollToEnd()
    else this.#restore(anchors)
    this.#look()
  }

  #trim() {
    const { log } = this.room
    if (this.following) {
      if (log.last - this.#drawnLast > BURST) log.keepLast(BURST)
      else if (log.events.length > MOST) log.keepLast(MOST - 60)
      return
    }
    if (log.events.length <= MOST) return
    const { first, last } = this.#seen()
    if (!first) return
    log.keepFirst(Math.max(last, first) + SIDE - log.first + 1)
    log.keepLast(log.last - (first - SIDE) + 1)
  }

  #again(which) {
    this.#errors[which] = ''
    this.#draw()
  }
}
