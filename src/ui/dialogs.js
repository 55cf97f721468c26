// What is asked of people: forms, dialogs and menus. The last two are the browser's own: <dialog> keeps the focus inside
// and gives it back, a popover lies over everything.

import { h, icon, iconButton, toast } from './dom.js'

let last = 0
export const uniqueId = prefix => `${prefix}-${++last}`

/** A labelled input. `complain(text)` says what is wrong with it; '' takes that back. */
export function field(label, attributes = {}, { hint = '', tag = 'input' } = {}) {
  const id = uniqueId('field')
  const note = h('p.hint', { id: `${id}-hint`, hidden: !hint }, hint)
  const error = h('p.error', { id: `${id}-error`, hidden: true })
  const input = h(`${tag}.input`, { id, type: tag === 'input' ? 'text' : null, autocomplete: 'off', 'aria-describedby': `${id}-hint ${id}-error`, ...attributes })
  const complain = text => {
    error.textContent = text
    error.hidden = !text
    input.setAttribute('aria-invalid', String(Boolean(text)))
  }
  input.addEventListener('input', () => complain(''))
  return { element: h('.field', h('label', { for: id }, label), input, note, error), input, complain }
}

/**
 * A form that sends by `send`, once at a time. A refusal is shown at the fields it names (`fields`: by the server's
 * names), otherwise above the button.
 */
export function form(fields, send, ...children) {
  const alert = h('p.alert', { role: 'alert', hidden: true })
  const element = h('form', { novalidate: true }, alert, children)
  const complain = text => {
    alert.textContent = text
    alert.hidden = !text
  }
  element.addEventListener('submit', async event => {
    event.preventDefault()
    if (element.ariaBusy === 'true') return
    complain('')
    for (const field of Object.values(fields)) field.complain('')
    element.ariaBusy = 'true'
    try {
      await send()
    } catch (refusal) {
      const wrong = Object.entries(refusal.fields ?? {}).filter(([name]) => fields[name])
      for (const [name, text] of wrong) fields[name].complain(text)
      if (wrong.length) fields[wrong[0][0]].input.focus()
      else complain(refusal.message)
    }
    element.ariaBusy = 'false'
  })
  return { element, complain }
}

/** One of several, as a row of choices. */
export function choice(legend, options, chosen, onchange) {
  const group = uniqueId('choice')
  return h('fieldset.choice', h('legend', legend), Object.entries(options).map(([value, label]) =>
    h('label', h('input', { type: 'radio', name: group, value, checked: value === chosen, onchange: () => onchange(value) }), h('span', label))))
}

/** Opens a dialog; returns how to close it. `onclose` is called however it is closed. */
export function dialog(title, content, { onclose, size = '' } = {}) {
  const id = uniqueId('dialog')
  const close = () => element.close()
  const element = h('dialog', { 'aria-labelledby': id, class: size },
    h('header', h('h2', { id, dir: 'auto' }, title), iconButton('close', 'Close', close)), h('.inside', content))
  element.addEventListener('close', () => {
    element.remove()
    onclose?.()
  })
  element.addEventListener('pointerdown', event => {
    const box = element.getBoundingClientRect()
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom
    if (event.target === element && !inside) close()
  })
  document.body.append(element)
  element.showModal()
  element.querySelector('[autofocus]')?.focus()
  return close
}

/** Asks before something that cannot be taken back; `act` may be refused by the server, which is then said here. */
export function confirm(title, text, label, act) {
  const alert = h('p.alert', { role: 'alert', hidden: true })
  const go = h('button.danger', {
    type: 'button',
    autofocus: true,
    async onclick() {
      go.disabled = true
      try {
        await act()
        close()
      } catch (refusal) {
        alert.textContent = refusal.message
        alert.hidden = false
      }
      go.disabled = false
    },
  }, label)
  const close = dialog(title, [h('p', text), alert,
    h('.actions', h('button.plain', { type: 'button', onclick: () => close() }, 'Cancel'), go)], { size: 'small' })
}

/**
 * A button that opens a menu. `items()` gives what is in it, when it is opened: { label, act, drawing?, checked?, danger? },
 * or null for a line. What `act` is refused is told in a note.
 */
export function menuButton(button, items) {
  button.setAttribute('aria-haspopup', 'menu')
  button.setAttribute('aria-expanded', 'false')
  let open = null
  button.addEventListener('click', () => {
    if (open) return open.hidePopover()
    open = menu(button, items())
    button.after(open)
    open.addEventListener('toggle', event => {
      if (event.newState !== 'closed') return
      const hadFocus = open.contains(document.activeElement) || document.activeElement === document.body
      open.remove()
      open = null
      button.setAttribute('aria-expanded', 'false')
      if (hadFocus) button.focus()
    })
    open.showPopover()
    place(open, button)
    button.setAttribute('aria-expanded', 'true')
    open.querySelector('button')?.focus()
  })
  // The press that closes an open menu by itself would open it again on release.
  button.addEventListener('pointerdown', event => { if (open) event.preventDefault() })
  return button
}

function menu(button, items) {
  const choose = item => async () => {
    element.hidePopover()
    try {
      await item.act()
    } catch (refusal) {
      toast(refusal.message, true)
    }
  }
  const element = h('.menu', { role: 'menu', popover: 'manual', 'aria-label': button.getAttribute('aria-label') ?? button.textContent },
    items.map(item => !item ? h('hr', { role: 'separator' }) : h('button', {
      type: 'button',
      role: item.checked === undefined ? 'menuitem' : 'menuitemradio',
      'aria-checked': item.checked === undefined ? null : String(item.checked),
      tabindex: '-1',
      class: item.danger ? 'danger' : '',
      onclick: choose(item),
    }, item.checked !== undefined ? h('span.tick', item.checked && icon('check', 16)) : item.drawing && icon(item.drawing, 18), h('span', item.label))))
  const leave = event => { if (!element.contains(event.target) && !button.contains(event.target)) element.hidePopover() }
  document.addEventListener('pointerdown', leave)
  const resized = () => element.hidePopover()
  addEventListener('resize', resized)
  element.addEventListener('toggle', event => {
    if (event.newState !== 'closed') return
    document.removeEventListener('pointerdown', leave)
    removeEventListener('resize', resized)
  })
  element.addEventListener('focusout', event => { if (event.relatedTarget && !element.contains(event.relatedTarget)) element.hidePopover() })
  element.addEventListener('keydown', event => {
    const buttons = [...element.querySelectorAll('button')]
    const at = buttons.indexOf(document.activeElement)
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key]
    if (to !== undefined) buttons.at(to % buttons.length).focus()
    else if (event.key === 'Escape') element.hidePopover()
    else return
    event.preventDefault()
    event.stopPropagation()
  })
  return element
}

/** Under the button, or over it where there is no place, and never outside of the page. */
function place(menu, button) {
  const box = button.getBoundingClientRect()
  const { offsetWidth: width, offsetHeight: height } = menu
  const under = box.bottom + 4 + height < innerHeight
  menu.style.top = `${Math.max(8, under ? box.bottom + 4 : box.top - 4 - height)}px`
  menu.style.left = `${Math.max(8, Math.min(innerWidth - width - 8, box.left + width < innerWidth - 8 ? box.left : box.right - width))}px`
}
