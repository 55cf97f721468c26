// Finding people and chats by the beginning of a name: a field with a list (the arrows choose, Enter takes), and what is
// done with it.

import { h, icon, name, say, settled, toast } from './dom.js'
import { choice, dialog, field, form, uniqueId } from './dialogs.js'
import { avatar } from './names.js'

/**
 * `search(text)` gives the options, at once or later: { key, draw() }. `pick(option)` takes one.
 * `empty(text)` is said where nothing was found. `onBackspace` is told of one in the empty field.
 */
function combobox({ label, placeholder, search, pick, empty, onBackspace, wait = 120 }) {
  const id = uniqueId('list')
  const list = h('.options', { role: 'listbox', id, 'aria-label': label })
  const note = h('p.hint.nothing', { role: 'status' })
  const input = h('input.input', {
    type: 'text', role: 'combobox', 'aria-label': label, placeholder, autocomplete: 'off', spellcheck: 'false', dir: 'auto',
    'aria-expanded': 'false', 'aria-controls': id, 'aria-autocomplete': 'list', autofocus: true, autocapitalize: 'none',
  })
  let options = [], at = -1, asked = 0, isStale = false, taking

  const choose = to => {
    at = to !== null && options.length ? (to + options.length) % options.length : -1
    ;[...list.children].forEach((option, index) => {
      option.setAttribute('aria-selected', String(index === at))
      if (index === at) option.scrollIntoView({ block: 'nearest' })
    })
    if (at < 0) input.removeAttribute('aria-activedescendant')
    else input.setAttribute('aria-activedescendant', list.children[at].id)
  }
  const take = option => option && pick(option)

  const look = async () => {
    const turn = ++asked
    const text = input.value.trim()
    let chosen
    try {
      const found = await search(text)
      if (turn !== asked) return
      chosen = at > 0 ? options[at].key : undefined
      options = found
      isStale = input.value.trim() !== text
      list.replaceChildren(...found.map((option, index) => h('.option', {
        role: 'option', id: `${id}-${index}`, 'aria-selected': 'false',
        onclick: () => take(option), onpointermove: () => at !== index && choose(index),
        onpointerdown: event => event.preventDefault(),
      }, option.draw())))
      say(note, found.length ? '' : empty(text))
    } catch (refusal) {
      if (turn !== asked) return
      options = []
      list.replaceChildren()
      say(note, refusal.message)
    }
    input.setAttribute('aria-expanded', String(options.length > 0))
    // What the arrows have chosen stays chosen, where it is still there.
    const still = options.findIndex(option => option.key === chosen)
    choose(still > 0 ? still : text ? 0 : null)
  }
  const lookSoon = settled(look, wait)
  input.addEventListener('input', () => {
    isStale = true
    lookSoon()
  })
  input.addEventListener('keydown', event => {
    if (event.key === 'ArrowDown') choose(at + 1)
    else if (event.key === 'ArrowUp') choose(at < 0 ? -1 : at - 1)
    else if (event.key === 'Enter') {
      // What is typed counts, also where the list has not caught up with it.
      lookSoon.cancel()
      if (isStale) taking = look().then(() => take(options[at]))
      else take(options[at])
    } else if (event.key === 'Backspace' && !input.value) return onBackspace?.()
    else return
    event.preventDefault()
  })
  look()
  return { element: h('.combobox', h('.entry', input), list, note), input, taken: () => taking, clear: () => { input.value = ''; look() } }
}

const SHOWN = 50

const findPeople = async (session, text) => {
  const people = await session.call('GET', `/users/users?${new URLSearchParams({ q: text })}`)
  return people.map(person => person.username)
}

const personOption = (username, model) => ({
  key: username,
  draw: () => [avatar(username, { here: model.online.has(username) }), h('span.what', name(username))],
})

/** `leftOut()`: names that are not offered. `onpick` gets the one, unless `several` are chosen. */
export function peoplePicker(model, { leftOut = () => [], several = false, onpick }) {
  let chosen = []
  const chips = h('.chips', { role: 'list', 'aria-label': 'Chosen people', hidden: true })
  const change = names => {
    chosen = names
    chips.hidden = !names.length
    chips.replaceChildren(...names.map(username => h('span.chip', { role: 'listitem' }, name(username),
      h('button', { type: 'button', 'aria-label': `Leave out ${username}`, onclick: () => { change(chosen.filter(one => one !== username)); box.input.focus() } }, icon('close', 14)))))
  }
  const box = combobox({
    label: 'Find people',
    placeholder: 'Begin to type a name',
    async search(text) {
      const found = await findPeople(model.session, text)
      const out = new Set([model.username, ...leftOut(), ...chosen])
      return found.filter(username => !out.has(username)).slice(0, SHOWN).map(username => personOption(username, model))
    },
    empty: text => text ? 'Nobody else has a name that begins so.' : 'There is nobody else here yet.',
    pick({ key }) {
      if (!several) return onpick(key)
      change([...chosen, key])
      box.clear()
      box.input.focus()
    },
    onBackspace: () => change(chosen.slice(0, -1)),
  })
  return { element: h('.picker', chips, box.element), input: box.input, chosen: () => Promise.resolve(box.taken()).then(() => chosen) }
}

/** Ctrl+K: to any room or person by a few letters. */
const ROOMS = 8
const PEOPLE = 6

export function switcher(model, open) {
  const box = combobox({
    label: 'Go to chat',
    placeholder: 'A chat or a person',
    wait: 60,
    async search(text) {
      const wanted = text.toLocaleLowerCase()
      const rooms = model.sorted()
      const matching = wanted ? rooms.filter(room => room.title.toLocaleLowerCase().includes(wanted)) : rooms
      const begins = room => room.title.toLocaleLowerCase().startsWith(wanted)
      const found = [...matching.filter(begins), ...matching.filter(room => !begins(room))].slice(0, ROOMS)
      if (!wanted) return found.map(roomOption)
      const known = new Set([model.username, ...rooms.filter(room => room.isPrivate).map(room => room.title)])
      const people = await findPeople(model.session, text).catch(() => [])
      const others = people.filter(username => !known.has(username)).slice(0, PEOPLE)
      return [...found.map(roomOption), ...others.map(username => ({ ...personOption(username, model), username }))]
    },
    empty: text => text ? 'No chat and nobody has a name like this.' : 'You are in no chat yet: type somebody’s name.',
    async pick({ key, username }) {
      close()
      try {
        open(username ? await model.privateWith(username) : key)
      } catch (refusal) {
        toast(refusal.message, true)
      }
    },
  })
  const roomOption = room => ({
    key: room.id,
    draw: () => [
      avatar(room.title, { group: !room.isPrivate, here: room.isPrivate ? model.online.has(room.other) : undefined }),
      h('span.what', name(room.title)),
      room.unread > 0 && h('span.badge', { 'aria-hidden': 'true' }, String(room.unread)),
    ],
  })
  const close = dialog('Go to chat', box.element, { size: 'finder' })
  box.input.focus()
}

/** Opens a private chat or makes a group. */
export function newChat(model, open) {
  const place = h('.mode')
  const show = mode => place.replaceChildren(mode === 'private' ? oneToOne() : group())
  const close = dialog('New chat', [choice('Kind of chat', { private: 'Private chat', group: 'Group' }, 'private', show), place])
  const go = chat_id => {
    close()
    open(chat_id)
  }

  function oneToOne() {
    const sending = form({}, async () => go(await model.privateWith(picked)), picker())
    let picked
    function picker() {
      return peoplePicker(model, { onpick(username) { picked = username; sending.element.requestSubmit() } }).element
    }
    return sending.element
  }

  function group() {
    const title = field('Group name', { maxlength: 100, dir: 'auto', placeholder: 'What is it about?' })
    const people = peoplePicker(model, { several: true })
    const sending = form({ name: title }, async () => {
      const body = { name: title.input.value, usernames: await people.chosen() }
      const { chat_id } = await model.session.call('POST', '/chat/new', body)
      go(chat_id)
    }, title.element, people.element, h('.actions', h('button.primary', { type: 'submit' }, 'Create group')))
    return sending.element
  }

  show('private')
  place.querySelector('input')?.focus()
}
