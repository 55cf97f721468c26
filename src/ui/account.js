// One's account: signing in or up, the profile and password, and how this browser shows and tells things.

import { announce, h, mark, name, say, toast } from './dom.js'
import { choice, dialog, field, form } from './dialogs.js'
import { avatar, brief, date, wholeTime } from './names.js'
import { load, setTheme } from './prefs.js'

/** `note`: why one is here again. */
export function signInPage(session, note = '') {
  const page = h('main.gate', { 'aria-label': 'Sign in' })
  const show = isNew => {
    page.setAttribute('aria-label', isNew ? 'Sign up' : 'Sign in')
    const username = field('Username', { autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', dir: 'auto', maxlength: 64, name: 'username' },
      { hint: isNew ? 'The name others find you by. It stays as it is.' : '' })
    const password = field('Password', { type: 'password', autocomplete: isNew ? 'new-password' : 'current-password', name: 'password' },
      { hint: isNew ? 'At least 8 characters.' : '' })
    const { element } = form({ username, password }, async () => {
      const [name, secret] = [username.input.value, password.input.value]
      if (!name) throw refused('username', 'Type your username.')
      if (!secret) throw refused('password', 'Type your password.')
      if (isNew) await session.signUp(name, secret)
      await session.signIn(name, secret)
    }, username.element, password.element, h('button.primary.wide', { type: 'submit' }, isNew ? 'Create account' : 'Sign in'))
    const other = h('button.link', { type: 'button', onclick: () => show(!isNew) }, isNew ? 'I have an account' : 'Create an account')
    page.replaceChildren(h('.card',
      h('.brand', mark(40), h('span', 'natter')),
      h('h1', isNew ? 'Create your account' : 'Sign in to natter'),
      note && !isNew ? h('p.alert.calm', { role: 'status' }, note) : null,
      element,
      h('p.other', isNew ? 'Been here before? ' : 'New here? ', other)))
    username.input.focus()
  }
  show(false)
  return page
}

const refused = (name, text) => Object.assign(new Error(text), { fields: { [name]: text } })

/** What a browser or program calls itself, in a few words. */
export function device(agent) {
  if (!agent) return 'Something that does not say what it is'
  const browser = [['Edg', 'Edge'], ['OPR', 'Opera'], ['Firefox', 'Firefox'], ['Chrome', 'Chrome'], ['Safari', 'Safari']].find(([mark]) => agent.includes(`${mark}/`))
  const system = ['iPhone', 'iPad', 'Android', 'Windows', 'Mac OS X', 'CrOS', 'Linux'].find(mark => agent.includes(mark))
  return browser ? system ? `${browser[1]} on ${system.replace('Mac OS X', 'macOS').replace('CrOS', 'ChromeOS')}` : browser[1] : agent
}

/** One's logins, each with a button that ends it. */
function logins(session) {
  const list = h('ul.logins')
  const note = h('p.alert', { role: 'alert', hidden: true })
  const others = h('button.plain', { type: 'button', hidden: true, onclick: () => end('', 'All your other logins have ended.') }, 'Sign out everywhere else')
  const complain = text => {
    note.textContent = text
    note.hidden = !text
  }
  async function end(path, done) {
    complain('')
    try {
      await session.call('DELETE', `/users/me/logins${path}`)
      toast(done)
      await draw()
      list.querySelector('button')?.focus()
    } catch (refusal) {
      complain(refusal.message)
    }
  }
  const row = ({ sid, seen_at, created_at, address, agent, current }) => h('li', { data: { testid: 'login', sid } },
    h('div', h('strong', { dir: 'auto', title: agent ?? '' }, device(agent)), current && h('span.hint', ' this one'),
      h('p.hint', [address, `seen ${brief(new Date(seen_at))}`].filter(Boolean).join(' · '), h('span.unseen', `, signed in ${wholeTime(new Date(created_at))}`))),
    !current && h('button.plain', { type: 'button', 'aria-label': `End the login of ${device(agent)}`, onclick: () => end(`/${sid}`, 'That login has ended.') }, 'End'))
  async function draw() {
    try {
      const { logins } = await session.call('GET', '/users/me/logins')
      list.replaceChildren(...logins.map(row))
      others.hidden = logins.length < 2
    } catch (refusal) {
      complain(refusal.message)
    }
  }
  draw()
  return [note, list, h('.actions', others)]
}

/** Whom one blocks, each with a button that lets them be. */
function blocks(model) {
  const list = h('ul.blocks', { 'aria-label': 'Blocked people' })
  const note = h('p.hint', { role: 'status' })
  const draw = async () => {
    try {
      const names = await model.blocked()
      list.replaceChildren(...names.map(username => h('li', { data: { testid: 'blocked', username } }, name(username),
        h('button.plain', { type: 'button', 'aria-label': `Unblock ${username}`, async onclick() {
          await model.block(username, false).catch(refusal => toast(refusal.message, true))
          await draw()
          ;(list.querySelector('button') ?? note.closest('dialog')?.querySelector('button'))?.focus()
        } }, 'Unblock'))))
      say(note, names.length ? '' : 'Nobody. Who is blocked can neither write to you nor invite you.')
    } catch (refusal) {
      say(note, refusal.message)
    }
  }
  draw()
  return [list, note]
}

export function account(model, notifier, changed) {
  const { me, session } = model
  const shown = h('strong', { dir: 'auto' }, me.display_name)
  const display = field('Display name', { value: me.display_name, autocomplete: 'name', dir: 'auto' },
    { hint: 'Shown to you and to admins. Others find you by your username.' })
  const profile = form({ display_name: display }, async () => {
    Object.assign(me, await session.call('PATCH', '/users/me', { display_name: display.input.value.trim() }))
    display.input.value = me.display_name
    say(shown, me.display_name)
    changed()
    toast('Your name is saved.')
  }, display.element, h('.actions', h('button.plain', { type: 'submit' }, 'Save name')))

  const current = field('Current password', { type: 'password', autocomplete: 'current-password' })
  const fresh = field('New password', { type: 'password', autocomplete: 'new-password' }, { hint: 'Changing it signs you out everywhere else.' })
  const password = form({ current, new: fresh }, async () => {
    try {
      await session.call('PATCH', '/users/me', { password: { current: current.input.value, new: fresh.input.value } })
    } catch (refusal) {
      if (refusal.code === 'wrong_password') refusal.fields = { current: refusal.message }
      throw refusal
    }
    current.input.value = fresh.input.value = ''
    toast('Your password is changed.')
  }, h('input', { type: 'text', autocomplete: 'username', value: me.username, hidden: true, readonly: true, 'aria-hidden': 'true', tabindex: '-1' }),
  current.element, fresh.element, h('.actions', h('button.plain', { type: 'submit' }, 'Change password')))

  const status = h('p.hint', { role: 'status' }, notifier.status)
  const notify = h('input', {
    type: 'checkbox',
    checked: notifier.isOn,
    disabled: !notifier.isPossible,
    async onchange() {
      notify.checked = await notifier.turn(notify.checked)
      say(status, notifier.status)
    },
  })

  dialog('Profile and settings', [
    h('.profile', avatar(me.username, { size: 'large' }), h('div', shown,
      h('p.hint', '@', name(me.username), ` · since ${date(new Date(me.created_at))}`))),
    h('section', profile.element),
    h('section', h('h3', 'Password'), password.element),
    h('section', { data: { testid: 'logins' } }, h('h3', 'Where you are signed in'), logins(session)),
    h('section', h('h3', 'Blocked people'), blocks(model)),
    h('section', h('h3', 'Appearance'), choice('Theme', { system: 'System', light: 'Light', dark: 'Dark' }, load('theme', 'system'), theme => {
      setTheme(theme)
      announce(`Theme: ${theme}`)
    })),
    h('section', h('h3', 'Notifications'), h('label.switch', notify, h('span', 'Desktop notifications')), status),
  ])
}
