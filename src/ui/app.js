// The start, and the frame around the views: who is signed in, which view the address asks for, and what lies open.

import { h, mark, name, toast } from './dom.js'
import { account, signInPage } from './account.js'
import { Admin } from './admin.js'
import { Conversation } from './conversation.js'
import { newChat, switcher } from './finding.js'
import { help, listen } from './keys.js'
import { Model } from './model.js'
import { Natter, Session } from './natter.js'
import { Notifier, connectionBanner } from './notify.js'
import { Drafts, applyTheme } from './prefs.js'
import { Sidebar } from './sidebar.js'

const root = document.documentElement
const place = document.getElementById('app')
const session = new Session()
let leave = () => {}

session.addEventListener('signedin', () => begin())
session.addEventListener('signedout', ({ detail: { reason } }) => {
  if (!session.signedIn) signIn(reason === 'revoked' ? 'Your login has ended; sign in again to go on.'
    : reason === 'elsewhere' ? 'You signed out in another tab.' : '')
})
addEventListener('storage', event => { if (event.key === 'natter.theme') applyTheme() })

if (session.signedIn) begin()
else signIn()

function signIn(note) {
  leave()
  root.dataset.view = 'signin'
  place.replaceChildren(signInPage(session, note))
  place.querySelector('input').focus()
}

/** Somebody is signed in: loads who it is, then the frame. */
async function begin() {
  leave()
  let isLeft = false
  leave = () => { isLeft = true }
  root.dataset.view = 'loading'
  if (!place.querySelector('.start')) place.replaceChildren(h('.splash', mark(48)))
  try {
    const me = await session.call('GET', '/users/me')
    if (!isLeft) await frame(me, () => { isLeft = true })
  } catch (refusal) {
    if (isLeft || !session.signedIn) return
    leave()
    place.replaceChildren(h('.splash', mark(48), h('p', { role: 'alert' }, refusal.message),
      h('button.primary', { type: 'button', onclick: begin }, 'Try again')))
    const again = setTimeout(begin, Math.max(5, refusal.retryAfter ?? 0) * 1000)
    leave = () => { isLeft = true; clearTimeout(again) }
  }
}

async function frame(me, left) {
  const natter = new Natter(session, { outbox: storage() })
  const model = new Model(session, natter, me)
  const drafts = new Drafts(me.user_id, model)
  const open = chat_id => { location.hash = chat_id ? `#/chat/${chat_id}` : '#/' }
  const actions = {
    open,
    newChat: () => newChat(model, open),
    find: () => switcher(model, open),
    account: () => account(model, notifier, () => sidebar.drawSoon()),
    admin: () => { location.hash = '#/admin' },
    help,
    signOut: () => session.signOut(),
    step,
    escape: () => root.dataset.view === 'chat' ? conversation.escape() : root.dataset.view === 'admin' && open(null),
  }
  const notifier = new Notifier(model, open)
  const sidebar = new Sidebar(model, drafts, actions)
  const conversation = new Conversation(model, drafts, actions)
  const admin = new Admin(model)
  const home = homeView(model, actions)
  conversation.element.hidden = true
  const shell = h('.shell', sidebar.element, home, conversation.element, admin.element, conversation.members.element)

  leave = () => {
    leave = () => {}
    left()
    conversation.composer.keepDraft()
    model.settle()
    document.querySelectorAll('dialog').forEach(dialog => dialog.close())
    model.stop()
    notifier.stop()
  }

  model.addEventListener('gone', ({ detail }) => {
    const { room } = detail
    if (room !== conversation.room) return
    if (!detail.hidden) toast(`You are no longer in ${room.title}.`)
    open(null)
  })
  model.addEventListener('refused', ({ detail }) => toast(detail.text, true))
  addEventListener('hashchange', () => route(), model)
  addEventListener('pagehide', () => {
    conversation.composer.keepDraft()
    model.settle()
  }, model)
  listen(actions, model)

  await model.start()
  if (model.signal.aborted) return
  place.replaceChildren(connectionBanner(natter, model.signal), shell)
  route()

  /** The address says what is shown. */
  async function route() {
    const [, view, id, at] = location.hash.split('/')
    const seq = /^[1-9]\d{0,15}$/.test(at ?? '') ? Number(at) : null
    const room = view === 'chat' && id ? model.rooms.get(id) ?? await model.find(id) : null
    if (view === 'admin' && !model.isAdmin) await model.refreshMe()
    if (location.hash.split('/')[2] !== id || model.signal.aborted) return
    if (view === 'chat' && id && !room) toast('There is no such chat, or you are not in it.', true)
    const shown = room ? 'chat' : view === 'admin' && model.isAdmin ? 'admin' : 'home'
    if (shown === 'home' && location.hash.length > 2) history.replaceState(null, '', '#/')
    root.dataset.view = shown
    home.hidden = shown !== 'home'
    admin.element.hidden = shown !== 'admin'
    conversation.element.hidden = shown !== 'chat'
    const before = conversation.room
    sidebar.select(room)
    if (room !== conversation.room || !room) conversation.show(room, seq)
    else if (seq) conversation.timeline.goTo(seq)
    if (shown === 'admin') admin.show()
    if (shown === 'home' && before) sidebar.focus(before)
    notifier.about(room?.title ?? (shown === 'admin' ? 'People' : ''))
  }

  function step(by, onlyUnread) {
    const rooms = model.sorted()
    const at = rooms.indexOf(conversation.room)
    for (let i = 1; i <= rooms.length; i++) {
      const from = at < 0 && by < 0 ? rooms.length : at
      const room = rooms[(from + by * i + rooms.length * 2) % rooms.length]
      if (room !== conversation.room && (!onlyUnread || room.unread)) return open(room.id)
    }
  }
}

/** Beside the list while no room is open. */
function homeView(model, actions) {
  const who = name('')
  const text = h('p')
  const element = h('main.home', { 'aria-label': 'Home' }, mark(56), h('h1', 'Hello, ', who), text,
    h('.actions', h('button.primary', { type: 'button', onclick: actions.newChat }, 'New chat'), h('button.plain', { type: 'button', onclick: actions.find }, 'Find a chat')))
  const draw = () => {
    who.textContent = model.me.display_name
    text.textContent = model.rooms.size
      ? 'Choose a chat on the left, or begin a new one.'
      : 'Nobody has written to you yet. Find somebody by name, or make a group and add people to it.'
  }
  model.addEventListener('rooms', draw)
  draw()
  return element
}

function storage() {
  try {
    return localStorage
  } catch {
    return null
  }
}
