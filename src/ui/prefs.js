// What this browser remembers by itself: drafts, the theme, whether to notify. Works, for as long as the page lives,
// where the browser allows no storage.

const memory = new Map()

export function load(key, otherwise) {
  try {
    const text = localStorage.getItem('natter.' + key)
    return text === null ? memory.get(key) ?? otherwise : JSON.parse(text)
  } catch {
    return memory.get(key) ?? otherwise
  }
}

/** `undefined` forgets. */
export function save(key, value) {
  try {
    if (value === undefined) localStorage.removeItem('natter.' + key)
    else localStorage.setItem('natter.' + key, JSON.stringify(value))
    memory.delete(key)
  } catch {
    // Full, or not allowed: the memory of this page has it.
    memory.set(key, value)
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
