// The admins' page: everybody's account, found by name, and what may be done with it.

import { h, icon, iconButton, name, settled, toast } from './dom.js'
import { confirm, dialog, field, form, menuButton } from './dialogs.js'
import { avatar, brief, date, wholeTime } from './names.js'

const PAGE = 50

export class Admin {
  #people = []
  #next = null
  #turn = 0

  constructor(model) {
    this.model = model
    this.search = h('input.input', { type: 'search', 'aria-label': 'Search people', placeholder: 'Search by the beginning of a username', autocomplete: 'off', spellcheck: 'false', autocapitalize: 'none' })
    this.search.addEventListener('input', settled(() => this.#load(), 150))
    this.body = h('tbody')
    this.note = h('p.nothing.hint', { role: 'status' })
    this.more = h('button.plain', { type: 'button', hidden: true, onclick: () => this.#load(this.#next) }, 'Show more')
    this.element = h('main.admin', { 'aria-label': 'People', hidden: true },
      h('header.top', h('a.round.back', { href: '#/', 'aria-label': 'Back to chats' }, icon('back')), h('.titles', h('h1', { tabindex: '-1' }, 'People'),
        h('p.subtitle', 'Everybody who has an account here'))),
      h('.page', { tabindex: '-1' }, h('.tools', this.search,
        h('button.plain', { type: 'button', onclick: () => this.#create() }, 'New account'),
        h('button.plain', { type: 'button', onclick: () => audit(model.session) }, 'Audit')),
        h('table', h('thead', h('tr', ['Person', 'Since', 'Account', ''].map(title => h('th', { scope: 'col' }, title || h('span.unseen', 'Actions'))))), this.body),
        this.note, this.more))
  }

  show() {
    this.search.value = ''
    this.#load()
    this.search.focus()
  }

  async #load(after) {
    const turn = ++this.#turn
    const query = new URLSearchParams({ q: this.search.value.trim(), limit: PAGE, ...after && { after } })
    try {
      const { users, next } = await this.model.session.call('GET', `/users/?${query}`)
      if (turn !== this.#turn) return
      this.#people = after ? [...this.#people, ...users] : users
      this.#next = next
      this.note.textContent = users.length || after ? '' : 'Nobody has a username that begins so.'
    } catch (refusal) {
      if (turn !== this.#turn) return
      this.note.textContent = refusal.message
    }
    this.body.replaceChildren(...this.#people.map(person => this.#row(person)))
    this.more.hidden = !this.#next
  }

  #row(person) {
    const { username, display_name, created_at, disabled } = person
    const isAdmin = person.roles.some(role => role.role_name === 'admin')
    const isMe = username === this.model.username
    return h('tr', { data: { testid: 'person', username } },
      h('td', h('.person', avatar(username), h('div', h('strong', name(username)), isMe && h('span.hint', ' you'),
        display_name !== username && h('p.hint', { dir: 'auto' }, display_name)))),
      h('td.since', date(new Date(created_at))),
      h('td', isAdmin && h('span.role.owner', 'Admin'), person.deletion ? h('span.role.off', 'Being deleted') : disabled ? h('span.role.off', 'Disabled') : !isAdmin && h('span.hint', 'Active')),
      h('td.end', h('span.menu-place', menuButton(iconButton('more', `Actions for ${username}`), () => this.#menu(person, isAdmin)))))
  }

  #menu({ username, disabled }, isAdmin) {
    const path = `/users/${encodeURIComponent(username)}`
    const role = action => ({ method: `/users/${action}-role`, body: { username, role_name: 'admin' } })
    const self = username === this.model.username
    const { method, body } = role(isAdmin ? 'remove' : 'add')
    const change = async (path, body, done) => {
      await this.model.session.call('POST', path, body)
      toast(done)
      await this.#refresh(username)
    }
    const ask = (title, text, label, act) => () => confirm(title, text, label, act)
    return [
      isAdmin
        ? { label: 'Remove admin', drawing: 'shield', act: self
          ? ask('Give up being an admin?', 'You will not see this page any more.', 'Give up', () => change(method, body, 'You are no admin any more.'))
          : () => change(method, body, `${username} is no admin any more.`) }
        : { label: 'Make admin', drawing: 'shield', act: () => change(method, body, `${username} is an admin.`) },
      { label: 'Reset password', drawing: 'pen', act: () => this.#reset(username, path) },
      { label: 'End all logins', drawing: 'leave', act: ask(`End all logins of ${username}?`, `${self ? 'You' : username} will have to sign in again, everywhere.`, 'End logins',
        () => change(`${path}/logout`, {}, `All logins of ${username} have ended.`)) },
      null,
      disabled
        ? { label: 'Enable', drawing: 'check', act: () => change(`${path}/enable`, {}, `${username} may sign in again.`) }
        : { label: 'Disable', drawing: 'close', danger: true, act: ask(`Disable ${username}?`, `${username} is signed out at once and cannot sign in, until somebody enables the account again. Nothing is deleted.`,
          'Disable', () => change(`${path}/disable`, {}, `${username} is disabled.`)) },
      { label: 'Delete', drawing: 'close', danger: true, act: () => this.#delete(username, path) },
    ]
  }

  /** An account for somebody, who is told the password. */
  #create() {
    const username = field('Username', { autocapitalize: 'none', spellcheck: 'false', dir: 'auto', maxlength: 64 })
    const password = field('Password', { type: 'password', autocomplete: 'new-password' }, { hint: 'Tell it to the person, who can change it.' })
    const { element } = form({ username, password }, async () => {
      const name = username.input.value.trim()
      await this.model.session.call('POST', '/users/create', { username: name, password: password.input.value })
      close()
      toast(`${name} has an account.`)
      this.search.value = name
      await this.#load()
    }, username.element, password.element, h('.actions', h('button.primary', { type: 'submit' }, 'Create account')))
    const close = dialog('New account', [element], { size: 'small' })
  }

  #reset(username, path) {
    const password = field('New password', { type: 'password', autocomplete: 'new-password' },
      { hint: 'Every login of theirs ends. Tell it to the person, who can change it.' })
    const { element } = form({ password }, async () => {
      await this.model.session.call('POST', `${path}/reset-password`, { password: password.input.value })
      close()
      toast(`${username} has the new password.`)
    }, password.element, h('.actions', h('button.primary', { type: 'submit' }, 'Reset password')))
    const close = dialog(`New password for ${username}`, [element], { size: 'small' })
  }

  /** For good, so it is asked in a dialog of its own. */
  #delete(username, path) {
    const free = h('input', { type: 'checkbox' })
    const erase = h('input', { type: 'checkbox' })
    const { element } = form({}, async () => {
      await this.model.session.call('DELETE', path, { messages: erase.checked ? 'erase' : 'keep', name: free.checked ? 'free' : 'keep' })
      close()
      toast(`${username} is deleted.`)
      await this.#load()
      this.search.focus()
    }, h('p', `${username} is signed out at once and leaves every group; where nobody else owns one, who has been there longest does. What ${username} said stays, as that of “deleted user”, unless it is erased. This cannot be undone.`),
    h('label.switch', erase, h('span', 'Erase what they said')),
    h('label.switch', free, h('span', 'Somebody else may have this name')),
    h('.actions', h('button.danger', { type: 'submit' }, 'Delete')))
    const close = dialog(`Delete ${username}?`, [element], { size: 'small' })
  }

  /** The row of one person anew, at its place. */
  async #refresh(username) {
    const query = new URLSearchParams({ q: username, limit: 1 })
    const { users } = await this.model.session.call('GET', `/users/?${query}`)
    const at = this.#people.findIndex(person => person.username === username)
    if (at < 0 || users[0]?.username !== username) return
    this.#people[at] = users[0]
    const row = this.#row(users[0])
    this.body.children[at]?.replaceWith(row)
    row.querySelector('button').focus()
    if (username === this.model.username) {
      Object.assign(this.model.me, users[0])
      if (!this.model.isAdmin) location.hash = '#/'
    }
  }
}

/** Who signed in or failed to, and what admins did; the latest first. */
function audit(session) {
  const list = h('tbody')
  const note = h('p.nothing.hint', { role: 'status' })
  const more = h('button.plain', { type: 'button', hidden: true, onclick: () => load(next) }, 'Show more')
  let next = null
  const row = ({ at, who, address, what, whom, detail, count }) => h('tr', { data: { testid: 'entry' } },
    h('td.since', { title: wholeTime(new Date(at)) }, brief(new Date(at))),
    h('td', what.replaceAll('_', ' '), whom && [' ', name(whom)], detail && ` (${detail})`, count > 1 && ` × ${count}`),
    h('td', who ? name(who) : h('span.hint', address === 'local' ? 'operator' : 'nobody')),
    h('td.hint', address ?? ''))
  async function load(after) {
    try {
      const page = await session.call('GET', `/audit?${new URLSearchParams({ limit: PAGE, ...after && { after } })}`)
      list.append(...page.entries.map(row))
      next = page.next
      note.textContent = list.children.length ? '' : 'Nothing is written down yet.'
    } catch (refusal) {
      note.textContent = refusal.message
    }
    more.hidden = !next
  }
  load()
  dialog('Audit', [h('.audit', h('table', h('thead', h('tr', ['When', 'What', 'Who', 'From'].map(title => h('th', { scope: 'col' }, title)))), list)), note, more], { size: 'large' })
}
