// Making elements, and doing things once a frame. Text from people only ever becomes text nodes here: nothing in the
// client parses HTML.

// The keys of somebody who is still choosing characters (an input method's) are no keys of the page: not in any field, and not
// for any listener. Safari says so only by the number of the key.
addEventListener('keydown', event => {
  if (event.isComposing || event.keyCode === 229) event.stopImmediatePropagation()
}, true)

const SVG = 'http://www.w3.org/2000/svg'

/** h('button.primary', { onclick, 'aria-label': … }, 'text', node, [more]): an element with its attributes and children. */
export function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split('.')
  const element = document.createElement(name || 'div')
  if (classes.length) element.className = classes.join(' ')
  const plain = attributes && (attributes instanceof Node || typeof attributes !== 'object' || Array.isArray(attributes))
  if (plain) children.unshift(attributes)
  else if (attributes) set(element, attributes)
  element.append(...content(children))
  return element
}

const content = children => children.flat(Infinity).filter(child => child != null && child !== false)

/** Attributes, listeners (`onclick`), properties that have no attribute (`value`, `checked`) and `data: { … }`. */
export function set(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'data') Object.assign(element.dataset, value)
    else if (key === 'class') element.classList.add(...value.split(' ').filter(Boolean))
    else if (key.startsWith('on')) value && element.addEventListener(key.slice(2), value)
    else if (key === 'value' || key === 'checked') element[key] = value
    else if (value === true) element.setAttribute(key, '')
    else if (value === false || value == null) element.removeAttribute(key)
    else element.setAttribute(key, value)
  }
  return element
}

/** Puts exactly these children into an element, and leaves those that stand in their place already. */
export function fill(element, ...children) {
  const wanted = content(children).map(child => child instanceof Node ? child : document.createTextNode(child))
  const keep = new Set(wanted)
  for (const child of [...element.childNodes]) if (!keep.has(child)) child.remove()
  let at = element.firstChild
  for (const child of wanted) {
    if (child === at) at = at.nextSibling
    else element.insertBefore(child, at)
  }
  return element
}

/** Sets text only where it differs, so that nothing is drawn or read out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text
  return element
}

/** Somebody's name or words inside other text: their direction stays their own. */
export const name = text => h('bdi', text)

const icons = {
  back: 'M15 5l-7 7 7 7',
  close: 'M6 6l12 12M18 6L6 18',
  plus: 'M12 5v14M5 12h14',
  search: 'M10.5 4.5a6 6 0 1 0 0 12 6 6 0 0 0 0-12M15 15l5 5',
  people: 'M9 5a3.4 3.4 0 1 0 0 6.8A3.4 3.4 0 0 0 9 5M3 19.5c.3-3.4 2.6-5.2 6-5.2s5.7 1.8 6 5.2M15.8 5.4a3.2 3.2 0 0 1 0 6M17.7 14.7c2 .6 3.1 2.3 3.3 4.8',
  more: 'M5.5 12h.01M12 12h.01M18.5 12h.01',
  send: 'M5 12h13M12.5 6l6 6-6 6',
  smile: 'M12 3.500a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M8.5 14c.8 1.3 2 2 3.5 2s2.700-.7 3.5-2M9 9.500v.6M15 9.500v.6',
  down: 'M12 5v13M6 12.500l6 6 6-6',
  check: 'M5 12.500l4.5 4.500L19 7.5',
  checks: 'M2.5 12.500l4 4L15 8M10.5 15.500l1.5 1.500L21.5 8',
  clock: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16M12 8v4.3l2.7 1.700',
  alert: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16M12 8v5M12 16.2v.1',
  join: 'M5 12h11M11.5 7.500L16 12l-4.5 4.500M19.5 5v14',
  leave: 'M19 12H8M12.5 7.500L8 12l4.5 4.500M4.5 5v14',
  pen: 'M5 19l.8-3.8L15.5 5.500l3 3-9.7 9.700z',
  shield: 'M12 3.500l7 2.700v5.3c0 4.3-2.8 7.4-7 9-4.2-1.600-7-4.700-7-9V6.2z',
  chevron: 'M7 10l5 5 5-5',
  info: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16M12 11.5V16M12 8v.1',
}

/** A drawing that says nothing to a screen reader: the button around it has the name. */
export function icon(which, size = 20) {
  const path = document.createElementNS(SVG, 'path')
  path.setAttribute('d', icons[which])
  return drawing(`icon icon-${which}`, 24, size, path)
}

/** The mark of natter: an n whose foot is the tail of a speech bubble. */
export function mark(size = 28) {
  const tile = document.createElementNS(SVG, 'rect')
  const letter = document.createElementNS(SVG, 'path')
  for (const [key, value] of Object.entries({ width: 32, height: 32, rx: 9 })) tile.setAttribute(key, value)
  letter.setAttribute('d', 'M7 27V14.5C7 9.25 11 6 16 6s9 3.25 9 8.5V20h-5.5v-5.2c0-2.3-1.4-3.8-3.5-3.8s-3.5 1.5-3.5 3.8V21c0 3.3-2 5.5-5.5 6z')
  return drawing('mark', 32, size, tile, letter)
}

function drawing(kind, box, size, ...shapes) {
  const svg = document.createElementNS(SVG, 'svg')
  for (const [key, value] of Object.entries({ viewBox: `0 0 ${box} ${box}`, width: size, height: size, class: kind, 'aria-hidden': 'true' })) {
    svg.setAttribute(key, value)
  }
  svg.append(...shapes)
  return svg
}

/** A button that shows a drawing only. */
export const iconButton = (which, label, onclick, more = {}) =>
  h('button.round', { type: 'button', 'aria-label': label, title: label, onclick, ...more }, icon(which))

/** `draw`, at most once a frame however often the result is called; a hidden page has no frames and a timer instead. */
export function oncePerFrame(draw) {
  let frame = 0, timer = 0
  const run = () => {
    cancelAnimationFrame(frame)
    clearTimeout(timer)
    frame = timer = 0
    draw()
  }
  return () => {
    if (frame) return
    frame = requestAnimationFrame(run)
    timer = setTimeout(run, 300)
  }
}

/** `act`, when it has not been asked for again for so many milliseconds. */
export function settled(act, millis) {
  let timer
  const later = (...given) => {
    clearTimeout(timer)
    timer = setTimeout(() => act(...given), millis)
  }
  later.cancel = () => clearTimeout(timer)
  return later
}

const spoken = []
/** Reads something out to whoever uses a screen reader, after what it is reading now. */
export function announce(text) {
  const place = document.getElementById('announcer')
  if (!place) return
  const line = h('p', text)
  place.append(line)
  spoken.push(line)
  if (spoken.length > 5) spoken.shift().remove()
}

/** A short note that goes away by itself, unless it tells of an error. */
export function toast(text, isError = false) {
  const close = () => note.remove()
  const note = h('.toast', { role: isError ? 'alert' : 'status', class: isError ? 'error' : '' },
    h('span', { dir: 'auto' }, text), iconButton('close', 'Close this note', close))
  const place = document.getElementById('toasts')
  place.append(note)
  while (place.children.length > 3) place.firstChild.remove()
  setTimeout(close, isError ? 12_000 : 5_000)
}
