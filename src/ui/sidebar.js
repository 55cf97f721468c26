// The list of chats: the latest on top, with their last words, what is unread, and who is there.

import { fill, h, icon, iconButton, mark, name, oncePerFrame, say, set, toast } from './dom.js'
import { menuButton } from './dialogs.js'
import { avatar, brief, count, listing } from './names.js'
import { oneLine } from './text.js'

const PAGE = 100

export class Sidebar {
  current = null
  #rooms = new Map()
  #shown = PAGE

  constructor(model, drafts, actions) {
    Object.assign(this, { model, drafts })
    this.list = h('ul.rooms-list', { 'aria-label': 'Chats' })
    this.empty = h('.empty', { hidden: true }, h('p', 'No chats yet.'),
      h('button.link', { type: 'button', onclick: actions.newChat }, 'Start the first one'))
    this.asked = h('ul.asked', { 'aria-label': 'Invitations', hidden: true })
    this.open = actions.open
    this.scroller = h('.list', this.asked, this.list, this.empty)
    this.scroller.addEventListener('scroll', () => {
      const { scrollTop, clientHeight, scrollHeight } = this.scroller
      if (this.#shown < model.rooms.size && scrollTop + clientHeight * 2 > scrollHeight) {
        this.#shown += PAGE
        this.drawSoon()
      }
    }, { passive: true })
    this.who = h('span.who', { dir: 'auto' })
    const account = h('button.account', { type: 'button' },
      avatar(model.username), h('span.names', this.who, this.handle = h('span.handle', name(model.username))), h('span.about', 'Account menu'), icon('chevron', 18))
    menuButton(account, () => [
      { label: 'Profile and settings', drawing: 'people', act: actions.account },
      ...model.isAdmin ? [{ label: 'People (admin)', drawing: 'shield', act: actions.admin }] : [],
      { label: 'Keyboard shortcuts', drawing: 'info', act: actions.help },
      null,
      { label: 'Sign out', drawing: 'leave', act: actions.signOut },
    ])
    const isMac = /Mac|iPhone|iPad/.test(navigator.platform)
    this.element = h('nav.sidebar', { 'aria-label': 'Chats' },
      h('header', h('a.brand', { href: '#/', 'aria-label': 'natter, all chats' }, mark(26), h('span', 'natter')),
        iconButton('plus', 'New chat', actions.newChat)),
      h('button.find', { type: 'button', 'aria-keyshortcuts': 'Control+K', onclick: actions.find },
        icon('search', 18), h('span', 'Search'), h('kbd', { 'aria-hidden': 'true' }, isMac ? '⌘K' : 'Ctrl K')),
      this.scroller, account)
    this.drawSoon = oncePerFrame(() => this.#draw())
    model.addEventListener('rooms', this.drawSoon)
    model.addEventListener('room', ({ detail: { room, what } }) => {
      if (what !== 'typing') return this.drawSoon()
      this.drawSoon()
      setTimeout(this.drawSoon, 6_100, room)
    })
    drafts.addEventListener('change', this.drawSoon)
    this.#draw()
  }

  select(room) {
    this.current = room
    this.#draw()
    this.#rooms.get(room?.id)?.link.scrollIntoView({ block: 'nearest' })
  }

  /** Back from a room: its link has the focus, so that the keyboard goes on from there. */
  focus(room) {
    const held = document.activeElement
    if (!held || held === document.body || !held.checkVisibility()) this.#rooms.get(room.id)?.link.focus()
  }

  #draw() {
    const { model } = this
    say(this.who, model.me.display_name)
    this.handle.hidden = model.me.display_name === model.username
    this.#drawAsked()
    const rooms = model.sorted()
    const top = rooms.slice(0, this.#shown)
    if (this.current && model.rooms.has(this.current.id) && !top.includes(this.current)) top.push(this.current)
    const focused = document.activeElement
    for (const id of this.#rooms.keys()) if (!model.rooms.has(id)) this.#rooms.delete(id)
    fill(this.list, top.map(room => this.#row(room)))
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true })
    this.empty.hidden = rooms.length + model.invitations.length > 0 || !model.loaded
  }

  /** Who asks one into which group, above all else. */
  #drawAsked() {
    const { invitations } = this.model
    const key = invitations.map(({ id, name, by }) => `${id}\n${name}\n${by}`).join('\n')
    if (key === this.asked.dataset.key) return
    this.asked.dataset.key = key
    this.asked.hidden = !invitations.length
    this.asked.replaceChildren(...invitations.map(asked => {
      const answer = accepts => async ({ target }) => {
        target.disabled = true
        try {
          await this.model.answer(asked, accepts)
          if (accepts) this.open(asked.id)
          else this.element.querySelector('.find').focus()
        } catch (refusal) {
          toast(refusal.message, true)
          target.disabled = false
        }
      }
      return h('li.invitation', { data: { testid: 'invitation', chat: asked.id } },
        avatar(asked.name, { group: true }), h('p', name(asked.by), ' asks you to join ', h('strong', name(asked.name))),
        h('.actions', h('button.plain', { type: 'button', onclick: answer(false), 'aria-label': `Decline ${asked.name}` }, 'Decline'),
          h('button.primary', { type: 'button', onclick: answer(true), 'aria-label': `Accept ${asked.name}` }, 'Accept')))
    }))
  }

  #row(room) {
    let row = this.#rooms.get(room.id)
    if (!row || row.title !== room.title) {
      row = { title: room.title, preview: h('span.preview', { id: `last-${room.id}`, 'aria-hidden': 'true', data: { testid: 'preview' }, dir: 'auto' }) }
      row.face = avatar(room.title, { group: !room.isPrivate, here: room.isPrivate ? false : undefined })
      row.time = h('time', { 'aria-hidden': 'true' })
      row.badge = h('span.badge', { 'aria-hidden': 'true', data: { testid: 'unread' }, hidden: true })
      row.about = h('span.about')
      row.link = h('a.room', { href: `#/chat/${room.id}`, 'aria-describedby': `last-${room.id}`, data: { testid: 'room', chat: room.id } },
        row.face, h('span.title', name(room.title), row.about), row.time, row.preview, row.badge)
      row.item = h('li', row.link)
      this.#rooms.set(room.id, row)
    }
    const here = room.isPrivate && this.model.online.has(room.other)
    const isCurrent = room === this.current
    const draft = !isCurrent && this.drafts.of(room.id)
    const failed = room.outbox.some(post => post.state === 'failed')
    if (room.isPrivate) row.face.lastChild.dataset.here = here ? 'online' : 'offline'
    row.link.dataset.unread = room.unread
    row.link.classList.toggle('unread', room.unread > 0)
    set(row.link, { 'aria-current': isCurrent ? 'page' : null })
    const about = [room.unread && `${room.unread} unread`, here && 'online', draft && 'draft', failed && 'not sent']
    say(row.about, about.filter(Boolean).map(part => `, ${part}`).join(''))
    row.badge.hidden = !room.unread
    say(row.badge, room.unread > 999 ? '999+' : String(room.unread))
    say(row.time, room.last ? brief(room.last.at ??= new Date(room.last.sent_at)) : '')
    this.#preview(row, room, draft, failed)
    return row.item
  }

  #preview(row, room, draft, failed) {
    const typing = room.typing
    const pending = room.outbox.at(-1)
    let lead = '', text = ''
    if (typing.length) text = room.isPrivate ? 'typing…' : `${listing(typing, 2)} ${typing.length === 1 ? 'is' : 'are'} typing…`
    else if (failed) [lead, text] = ['Not sent: ', oneLine(room.outbox.find(post => post.state === 'failed').content)]
    else if (draft) [lead, text] = ['Draft: ', oneLine(draft)]
    else if (pending) [lead, text] = ['You: ', oneLine(pending.content)]
    else if (room.last) {
      lead = room.last.sender === room.me ? 'You: ' : room.isPrivate ? '' : `${room.last.sender}: `
      text = oneLine(room.last.content)
    } else text = room.isPrivate ? 'No messages yet' : count(room.users.length, 'member', 'members')
    row.preview.className = `preview ${typing.length ? 'is-typing' : failed ? 'is-failed' : draft ? 'is-draft' : ''}`
    const key = `${lead}\n${text}`
    if (row.preview.dataset.key === key) return
    row.preview.dataset.key = key
    row.preview.replaceChildren(...lead ? [h('span.lead', name(lead)), text] : [text])
  }
}
