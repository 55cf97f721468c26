// One room on the screen: its head, its messages, who is typing, and where one writes.

import { h, icon, iconButton, name, say, toast } from './dom.js'
import { Composer } from './composer.js'
import { confirm, dialog, field, form, menuButton } from './dialogs.js'
import { Members } from './members.js'
import { avatar, count, listing } from './names.js'
import { load, save } from './prefs.js'
import { DELETED } from './room.js'
import { Timeline } from './timeline.js'

const wide = matchMedia('(min-width: 1100px)')

export class Conversation {
  room = null

  constructor(model, drafts, actions) {
    Object.assign(this, { model, actions })
    this.timeline = new Timeline(model, { write: () => this.composer.focus() })
    this.composer = new Composer(model, drafts, {
      onsend: content => {
        model.send(this.room, content)
        this.timeline.toEnd({ smooth: false })
      },
      onpage: pages => this.timeline.scrollBy(pages),
      onup: () => this.timeline.actions.editLast(),
    })
    this.members = new Members(model, { close: () => this.showMembers(false, true), leave: () => this.#leave(), open: actions.open })
    this.face = h('span')
    this.title = h('h1', { tabindex: '-1' }, this.name = h('bdi'))
    this.subtitle = h('p.subtitle', { data: { testid: 'subtitle' } })
    this.membersButton = iconButton('people', 'Members', () => this.showMembers(this.members.element.hidden, true), { 'aria-expanded': 'false' })
    this.more = menuButton(iconButton('more', 'Chat menu'), () => this.room.isPrivate ? this.#private() : [
      ...this.room.mayModerate ? [{ label: 'Rename group', drawing: 'pen', act: () => this.#rename() }] : [],
      { label: 'Leave group', drawing: 'leave', danger: true, act: () => this.#leave() },
    ])
    this.typing = h('p.typing', { data: { testid: 'typing' } }, h('span.dots', { 'aria-hidden': 'true' }, h('i'), h('i'), h('i')), this.typists = h('span'))
    this.element = h('main.conversation', { 'aria-label': 'Conversation' },
      h('header.top', h('a.round.back', { href: '#/', 'aria-label': 'Back to chats' }, icon('back')), this.face,
        h('.titles', this.title, this.subtitle), this.membersButton, h('span.menu-place', this.more)),
      this.timeline.element, this.typing, this.composer.element)
    model.addEventListener('rooms', () => this.room && this.composer.about())
    model.addEventListener('room', ({ detail: { room, what } }) => room === this.room && this.#changed(what))
    model.addEventListener('message', ({ detail: { room, event } }) => room === this.room && this.timeline.hear(event))
    model.natter.addEventListener('state', () => this.room && (this.timeline.drawSoon(), this.#head()), model)
  }

  show(room, seq) {
    this.composer.show(room)
    this.room = room
    if (!room) {
      this.timeline.hide()
      this.members.show(null)
      return
    }
    this.membersButton.hidden = room.isPrivate
    this.#head()
    this.#drawTyping()
    this.showMembers(!room.isPrivate && wide.matches && load('members', true))
    const shown = this.timeline.show(room, seq)
    if (room.isPrivate) this.model.loadOtherRead(room).catch(() => {})
    this.composer.focus()
    return shown
  }

  showMembers(on, remember = false) {
    if (remember && wide.matches) save('members', on)
    this.members.show(on ? this.room : null)
    this.membersButton.setAttribute('aria-expanded', String(on))
    if (remember) (on ? this.members.element.querySelector('button') : this.membersButton).focus()
  }

  /** Esc: closes what lies over the messages; else everything is read. */
  escape() {
    if (!this.members.element.hidden && !wide.matches) return this.showMembers(false, true)
    this.timeline.markRead()
    this.composer.focus()
  }

  #changed(what) {
    if (what === 'reset') return this.timeline.reset()
    if (what === 'typing') this.#drawTyping()
    else if (what === 'presence') this.#head()
    else {
      this.timeline.drawSoon()
      if (what === 'log') this.#drawTyping()
    }
    if (what !== 'about') return
    this.#head()
    this.composer.about()
    this.members.refreshSoon()
  }

  #head() {
    const { room, model } = this
    const live = model.natter.state === 'live'
    if (this.name.textContent !== room.title || !this.face.hasChildNodes()) {
      this.name.textContent = room.title
      this.face.replaceChildren(avatar(room.title, { group: !room.isPrivate, here: room.isPrivate ? false : undefined }))
    }
    const here = room.isPrivate && model.online.has(room.other)
    if (room.isPrivate) this.face.querySelector('.dot').dataset.here = here ? 'online' : 'offline'
    const many = room.isListed ? count(room.users.length, 'member', 'members') : 'Many members'
    const online = live && room.online > 1 ? ` · ${room.online.toLocaleString()} online` : ''
    say(this.subtitle, room.isPrivate ? live ? here ? 'Online' : 'Offline' : '' : many + online)
  }

  #drawTyping() {
    const names = this.room?.typing ?? []
    this.typing.classList.toggle('on', names.length > 0)
    say(this.typists, names.length ? `${listing(names)} ${names.length === 1 ? 'is' : 'are'} typing…` : '')
    clearTimeout(this.typingTimer)
    if (names.length) this.typingTimer = setTimeout(() => this.#drawTyping(), 1_000)
  }

  /** What may be done in a private room. */
  #private() {
    const { room, model } = this
    const { other } = room
    const isBlocked = model.blocks.has(other)
    const block = on => async () => {
      await model.block(other, on)
      toast(on ? `You have blocked ${other}.` : `${other} may write to you again.`)
    }
    return [
      { label: 'Hide chat', drawing: 'close', act: async () => {
        await model.hide(room)
        toast('Hidden until the next message.')
      } },
      ...other === DELETED ? [] : [null, isBlocked
        ? { label: `Unblock ${other}`, drawing: 'check', act: block(false) }
        : { label: `Block ${other}`, drawing: 'shield', danger: true, act: () => confirm(`Block ${other}?`,
          `${other} can neither write to you here nor invite you, and neither of you sees whether the other is there. Nothing is deleted, and ${other} is not told.`, 'Block', block(true)) }],
    ]
  }

  #rename() {
    const { room, model } = this
    const title = field('Group name', { value: room.title, maxlength: 100, dir: 'auto', autofocus: true })
    const close = dialog('Rename group', form({ name: title }, async () => {
      await model.session.call('PATCH', `/chat/${room.id}`, { name: title.input.value })
      close()
    }, title.element, h('.actions', h('button.primary', { type: 'submit' }, 'Rename'))).element, { size: 'small' })
    title.input.select()
  }

  #leave() {
    const { room, model } = this
    confirm(`Leave ${room.title}?`, 'You will not see what is said here until somebody adds you again.', 'Leave', async () => {
      await model.session.call('DELETE', `/chat/${room.id}/members/${encodeURIComponent(model.username)}`)
      this.actions.open(null)
    })
  }
}
