// What may be done to one message: the bar that comes to the row one points at or has the focus in, editing in its place, and the keys.

import { announce, h, iconButton, toast } from './dom.js'
import { menuButton } from './dialogs.js'

export class MessageActions {
  /** The message that is being edited, and its field: { message_id, element }. */
  editing = null

  constructor(timeline, write) {
    Object.assign(this, { timeline, write, model: timeline.model })
    this.edit = iconButton('pen', 'Edit', () => this.begin(this.message))
    this.more = menuButton(iconButton('more', 'More about this message'), () => this.#menu(this.message))
    this.bar = h('.bar', { role: 'toolbar', 'aria-label': 'Message actions' }, this.edit, h('span.menu-place', this.more))
  }

  get #room() { return this.timeline.room }

  listen() {
    const { rows, scroller } = this.timeline
    rows.addEventListener('pointerover', event => this.#come(event.target))
    rows.addEventListener('focusin', event => this.#come(event.target))
    rows.addEventListener('pointerleave', () => { if (!this.bar.matches(':focus-within')) this.#away() })
    scroller.addEventListener('keydown', event => this.#key(event))
  }

  clear() {
    this.#away()
    this.editing = null
  }

  #away() {
    if (this.bar.querySelector('.menu')) return
    this.bar.remove()
  }

  #messageOf(row) {
    return this.#room?.log.events.find(event => event.type === 'message' && event.seq === Number(row?.dataset.seq))
  }

  #come(target) {
    const row = target.closest('.message')
    if (!row || this.bar.parentNode === row || this.bar.querySelector('.menu')) return
    const message = this.#messageOf(row)
    if (!message || message.deleted || message.leaving) return this.#away()
    this.message = message
    this.edit.hidden = message.sender !== this.model.username
    row.append(this.bar)
  }

  #menu(message) {
    const room = this.#room
    const copy = (text, told) => async () => {
      await navigator.clipboard.writeText(text)
      toast(told)
    }
    return [
      ...message.sender === this.model.username ? [{ label: 'Edit', drawing: 'pen', act: () => this.begin(message) }] : [],
      ...navigator.clipboard ? [
        { label: 'Copy text', drawing: 'check', act: copy(message.content, 'The text is copied.') },
        { label: 'Copy link', drawing: 'send', act: copy(`${location.origin}/#/chat/${room.id}/${message.seq}`, 'The link is copied.') },
      ] : [],
      ...this.model.mayDelete(room, message) ? [null, { label: 'Delete', drawing: 'close', danger: true, act: () => this.#delete(message) }] : [],
    ]
  }

  #delete(message) {
    this.model.delete(this.#room, message)
    announce('Message deleted. Undo is beside it.')
    this.write()
  }

  /** In an empty field, ↑: whether there is something to edit. */
  editLast() {
    const { log, me, atEnd } = this.#room
    const last = atEnd && log.events.findLast(({ type, sender, deleted, leaving }) => type === 'message' && sender === me && !deleted && !leaving)
    if (last) this.begin(last)
    return Boolean(last)
  }

  begin(message) {
    const room = this.#room
    const text = h('textarea.input', { rows: '1', 'aria-label': 'Edit message', dir: 'auto', value: message.content, enterkeyhint: 'done' })
    const most = this.model.natter.me?.limits.message_chars ?? 4_000
    const end = () => {
      if (this.editing?.message_id !== message.message_id) return
      this.editing = null
      this.timeline.drawSoon()
      this.write()
    }
    const save = () => {
      const content = text.value.trim()
      if (!content || [...content].length > most) return text.focus()
      this.model.edit(room, message, content)
      end()
    }
    text.addEventListener('keydown', event => {
      if (event.key === 'Enter' && !event.shiftKey && !event.altKey) save()
      else if (event.key === 'Escape') end()
      else return
      event.preventDefault()
      event.stopPropagation()
    })
    const element = h('form.message.editing', {
      data: { seq: message.seq },
      onsubmit(event) { event.preventDefault(); save() },
    }, text, h('.actions', h('span.hint', 'Enter saves, Esc leaves it as it is'), h('button.plain', { type: 'button', onclick: end }, 'Cancel'), h('button.primary', { type: 'submit' }, 'Save')))
    this.#away()
    this.editing = { message_id: message.message_id, element }
    this.timeline.draw()
    text.focus()
    text.setSelectionRange(text.value.length, text.value.length)
    element.scrollIntoView({ block: 'nearest' })
  }

  /** With the focus in the messages: ↑ and ↓ go from one to the next, e edits, # and Delete delete, Esc leads back. */
  #key(event) {
    const row = document.activeElement?.closest('.message')
    const { scroller, rows } = this.timeline
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target !== (row ?? scroller)) return
    const message = row && this.#messageOf(row)
    const isLeft = message && !message.deleted && !message.leaving
    if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      const all = [...rows.querySelectorAll('.message[data-seq]')]
      const at = row ? all.indexOf(row) + (event.key === 'ArrowUp' ? -1 : 1) : all.length - 1
      if (at >= all.length) this.write()
      else all[Math.max(0, at)]?.focus()
    } else if (event.key === 'e' && isLeft && message.sender === this.model.username) this.begin(message)
    else if ((event.key === '#' || event.key === 'Delete') && isLeft && this.model.mayDelete(this.#room, message)) this.#delete(message)
    else if (event.key === 'Escape' && row) this.write()
    else return
    event.preventDefault()
    event.stopPropagation()
  }
}
