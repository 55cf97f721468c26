// What this browser remembers by itself: drafts, the theme, whether to notify. Works, for as long as the page lives,
// where the browser allows no storage.

const memory = new Map()

// Another tab could store it.
addEventListener('storage', ({ key }) => key?.startsWith('natter.') && memory.delete(key.slice(7)))

export function load(key, otherwise) {
  // Storage that does not keep may still hold what was there before.
  if (memory.has(key)) return memory.get(key) ?? otherwise
  try {
    return JSON.parse(localStorage.getItem('natter.' + key)) ?? otherwise
  } catch {
    return otherwise
  }
}

/** `undefined` forgets. */
export function save(key, value) {
  memory.set(key, value)
  try {
    const text = value === undefined ? null : JSON.stringify(value)
    if (text === null) localStorage.removeItem('natter.' + key)
    else localStorage.setItem('natter.' + key, text)
    if (localStorage.getItem('natter.' + key) === text) memory.delete(key)
  } catch {
    // Full, or not allowed: the memory of this page has it.
  }
}

/** system, light or dark. theme.js sets the same before the first paint. */
export function applyTheme(theme = load('theme', 'system')) {
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}

export function setTheme(theme) {
  save('theme', theme === 'system' ? undefined : theme)
  applyTheme(theme)
}

/** The drafts of one person, by room; gone from memory when they are sent. */
export class Drafts extends EventTarget {
  constructor(user_id, { signal }) {
    super()
    this.key = `drafts.${user_id}`
    this.all = load(this.key, {})
    // Another tab writes too.
    addEventListener('storage', event => {
      if (event.key !== 'natter.' + this.key) return
      this.all = load(this.key, {})
      this.dispatchEvent(new Event('change'))
    }, { signal })
  }

  of(chat_id) {
    return this.all[chat_id] ?? ''
  }

  keep(chat_id, text) {
    if (this.of(chat_id) === text) return
    const { [chat_id]: _, ...others } = load(this.key, this.all)
    this.all = text.trim() ? { ...others, [chat_id]: text } : others
    save(this.key, this.all)
    this.dispatchEvent(new Event('change'))
  }
}
