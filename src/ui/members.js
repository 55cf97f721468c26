// Who is in a group, and what may be done about it: the same rules as the server's, so that nothing is offered that it
// would refuse.

import { fill, h, icon, iconButton, name, oncePerFrame, settled } from './dom.js'
import { confirm, dialog, field, form, menuButton } from './dialogs.js'
import { avatar, count, roles } from './names.js'
import { peoplePicker } from './finding.js'

const PAGE = 200
const order = Object.keys(roles)

export class Members {
  room = null
  #members = []
  #next = null
  #loading = 0

  constructor(model, actions) {
    Object.assign(this, { model, actions })
    this.heading = h('h2', 'Members')
    this.list = h('ul', { 'aria-label': 'Members' })
    this.note = h('p.alert', { role: 'alert', hidden: true })
    this.more = h('button.plain', { type: 'button', hidden: true, onclick: () => this.#load(this.#next) }, 'Show more')
    this.invite = h('button.primary.wide', { type: 'button', onclick: () => this.#invite() }, icon('plus', 18), 'Add people')
    this.element = h('aside.members', { 'aria-label': 'Members', hidden: true },
      h('header', this.heading, iconButton('close', 'Close members', actions.close)),
      h('.inside', this.invite, this.note, this.list, this.more),
      h('footer', h('button.plain.wide', { type: 'button', onclick: actions.leave }, icon('leave', 18), 'Leave group')))
    this.drawSoon = oncePerFrame(() => this.room && this.#draw())
    this.refreshSoon = settled(() => this.room && this.#load(null), 150)
    model.addEventListener('rooms', this.drawSoon)
  }

  show(room) {
    this.element.hidden = !room
    if (room === this.room) return
    this.room = room
    this.#members = []
    this.#next = null
    fill(this.list)
    if (room) this.#load(null)
  }

  async #load(after) {
    const { room, model } = this
    const turn = ++this.#loading
    const query = new URLSearchParams({ limit: after ? PAGE : Math.max(PAGE, Math.min(500, this.#members.length)), ...after && { after } })
    try {
      const { members, next } = await model.session.call('GET', `/chat/${room.id}/members?${query}`)
      if (turn !== this.#loading || room !== this.room) return
      this.#members = after ? [...this.#members, ...members] : members
      this.#next = next
      this.note.hidden = true
    } catch (refusal) {
      if (turn !== this.#loading || room !== this.room) return
      this.note.textContent = refusal.message
      this.note.hidden = false
    }
    this.#draw()
  }

  #draw() {
    const { room, model } = this
    this.invite.hidden = !room.mayModerate
    this.more.hidden = !this.#next
    this.heading.textContent = this.#next ? 'Members' : count(this.#members.length, 'member', 'members')
    const here = username => model.online.has(username)
    const sorted = this.#members.toSorted((a, b) =>
      order.indexOf(a.role) - order.indexOf(b.role) || here(b.username) - here(a.username) || a.username.localeCompare(b.username))
    const shown = sorted.map(member => `${member.username}\n${member.role}\n${here(member.username)}`).join('\n\n') + room.role
    if (shown === this.shown && this.list.children.length) return
    // A menu that is open stays open.
    if (this.list.querySelector('.menu')) return setTimeout(this.drawSoon, 500)
    this.shown = shown
    const focused = this.list.contains(document.activeElement) && document.activeElement.getAttribute('aria-label')
    fill(this.list, sorted.map(member => this.#row(member)))
    if (focused) [...this.list.querySelectorAll('button')].find(button => button.getAttribute('aria-label') === focused)?.focus()
  }

  #row({ username, role }) {
    const { model } = this
    const isMe = username === model.username
    return h('li.member', { data: { testid: 'member', username, role } },
      avatar(username, { here: model.online.has(username) }),
      h('span.what', name(username), isMe && h('span.hint', ' you')),
      role !== 'member' && h('span.role', { class: role }, roles[role]),
      h('span.menu-place', menuButton(iconButton('more', `Manage ${username}`), () => this.#menu(username, role))))
  }

  #menu(username, role) {
    const { room, model } = this
    const path = `/chat/${room.id}/members/${encodeURIComponent(username)}`
    const isMe = username === model.username
    const amOwner = room.role === 'owner'
    const below = role === 'member' || role === 'reader'
    const choosable = !room.mayModerate ? [] : amOwner ? order : below ? ['member', 'reader'] : []
    return [
      ...isMe ? [] : [{ label: `Message ${username}`, drawing: 'send', act: async () => this.actions.open(await model.privateWith(username)) }],
      ...choosable.length ? [...isMe ? [] : [null], ...choosable.map(one => ({
        label: roles[one],
        checked: one === role,
        act: async () => { if (one !== role) await model.session.call('PATCH', path, { role: one }) },
      }))] : [],
      ...isMe ? [...choosable.length ? [null] : [], { label: 'Leave group', drawing: 'leave', danger: true, act: this.actions.leave }]
        : amOwner || room.mayModerate && below ? [null, {
          label: 'Remove from group',
          drawing: 'close',
          danger: true,
          act: () => confirm(`Remove ${username}?`, `${username} will not see what is said in ${room.title} any more.`, 'Remove',
            () => model.session.call('DELETE', path)),
        }] : [],
    ]
  }

  #invite() {
    const { room, model } = this
    const people = peoplePicker(model, { several: true, leftOut: () => room.isListed ? room.users : this.#members.map(member => member.username) })
    const role = field('Role', {}, { tag: 'select' })
    const may = room.role === 'owner' ? order : ['member', 'reader']
    role.input.append(...may.map(one => h('option', { value: one }, roles[one])))
    role.input.value = 'member'
    const sending = form({}, async () => {
      const chosen = await people.chosen()
      if (!chosen.length) return sending.complain('Choose somebody first: type the beginning of a name, then Enter.')
      const failed = []
      for (const username of chosen) {
        await model.session.call('POST', `/chat/${room.id}/members`, { username, role: role.input.value })
          .catch(refusal => failed.push(`${username}: ${refusal.message}`))
      }
      if (failed.length) sending.complain(failed.join(' '))
      else close()
    }, people.element, role.element, h('.actions', h('button.primary', { type: 'submit' }, 'Add')))
    const close = dialog('Add people', sending.element)
    people.input.focus()
  }
}
