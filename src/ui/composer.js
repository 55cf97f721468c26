// Where messages are written: a field that grows with the text, keeps a draft for every room and sends on Enter, and a
// small picker of emoji.

import { h, icon, iconButton, settled, toast } from './dom.js'

const touch = matchMedia('(pointer: coarse)')
/** So many characters before the limit they are counted aloud. */
const NEAR_LIMIT = 200

export class Composer {
  room = null

  constructor(model, drafts, { onsend, onpage, onup }) {
    Object.assign(this, { model, drafts, onsend })
    this.text = h('textarea', { rows: '1', 'aria-label': 'Message', dir: 'auto', enterkeyhint: 'send', autocomplete: 'off' })
    this.count = h('span.count', { role: 'status' })
    this.button = h('button.send', { type: 'submit', 'aria-label': 'Send', title: 'Send (Enter)' }, icon('send', 20))
    const smile = iconButton('smile', 'Emoji')
    const emoji = emojiPicker(smile, emoji => this.#insert(emoji))
    this.form = h('form.composer', h('.box', this.text, this.count, smile, emoji, this.button))
    this.readOnly = h('.read-only', { hidden: true, data: { testid: 'read-only' } })
    this.element = h('.compose', this.form, this.readOnly)
    this.#keep = settled(() => this.keepDraft(), 400)
    this.text.addEventListener('input', () => {
      this.#measure()
      this.#keep()
      if (this.text.value.trim()) this.model.typing(this.room)
    })
    this.text.addEventListener('keydown', event => {
      if (event.key === 'Enter' && !event.shiftKey && !event.altKey && !touch.matches) {
        event.preventDefault()
        this.form.requestSubmit()
      } else if (event.key === 'ArrowUp' && !this.text.value && !event.shiftKey && !event.altKey && !event.ctrlKey && !event.metaKey) {
        if (onup()) event.preventDefault()
      } else if (event.key === 'PageUp' || event.key === 'PageDown') {
        event.preventDefault()
        onpage(event.key === 'PageUp' ? -1 : 1)
      }
    })
    this.form.addEventListener('submit', event => {
      event.preventDefault()
      this.#send()
    })
  }
  #keep

  show(room) {
    this.keepDraft()
    this.room = room
    this.#keep.cancel()
    if (!room) return
    this.text.value = this.kept = this.drafts.of(room.id)
    this.about()
    this.#measure()
  }

  /** The room's name or one's role in it may have changed. */
  about() {
    const { room } = this
    this.text.placeholder = room.isPrivate ? `Message ${room.title}` : `Message to ${room.title}`
    const isBlocked = room.isPrivate && this.model.blocks.has(room.other)
    this.form.hidden = !room.mayPost || isBlocked
    this.readOnly.hidden = !this.form.hidden
    const why = isBlocked ? `You have blocked ${room.other}.` : room.isDeserted ? 'This account was deleted: nobody would read it.'
      : 'You are a reader here: you can follow this group, but not write in it.'
    if (this.readOnly.firstChild?.textContent === why) return
    this.readOnly.replaceChildren(h('p', why), isBlocked ? h('button.link', { type: 'button', onclick: () => this.#unblock() }, `Unblock ${room.other}`) : '')
  }

  async #unblock() {
    try {
      await this.model.block(this.room.other, false)
      this.focus()
    } catch (refusal) {
      toast(refusal.message, true)
    }
  }

  focus() {
    if (!touch.matches) this.text.focus({ preventScroll: true })
  }

  keepDraft() {
    // What nobody typed here is another tab's to keep.
    if (this.room && this.text.value !== this.kept) this.drafts.keep(this.room.id, this.kept = this.text.value)
  }

  get #limit() {
    return this.model.natter.me?.limits.message_chars ?? 4_000
  }

  #send() {
    const content = this.text.value.trim()
    if (!content || [...content].length > this.#limit) return this.text.focus()
    this.text.value = ''
    this.#keep.cancel()
    this.keepDraft()
    this.#measure()
    this.onsend(content)
    this.text.focus()
  }

  #insert(emoji) {
    this.text.focus()
    this.text.setRangeText(emoji, this.text.selectionStart, this.text.selectionEnd, 'end')
    this.text.dispatchEvent(new Event('input'))
  }

  #measure() {
    const { text } = this
    // The server counts characters, not UTF-16 units.
    const left = this.#limit - (text.value.length > this.#limit - NEAR_LIMIT ? [...text.value.trim()].length : 0)
    this.count.textContent = left <= NEAR_LIMIT ? left < 0 ? `${-left} too many` : `${left} left` : ''
    this.count.classList.toggle('over', left < 0)
    this.button.disabled = left < 0 || !text.value.trim()
    if (CSS.supports('field-sizing', 'content')) return
    text.style.height = 'auto'
    text.style.height = `${text.scrollHeight}px`
  }
}

// An emoji and the words it is found by.
const ALL = `😀 grin happy|😄 smile happy|😂 joy laugh tears|🙂 smile slight|😉 wink|😊 blush smile|😍 love eyes|😎 cool sunglasses|🥳 party celebrate|🙁 frown sad|😢 cry sad|😭 sob cry|🤯 mind blown|😱 scream|🤔 think hmm|🙄 eye roll|😴 sleep tired|👋 wave hello bye|👍 thumbs up yes good|👎 thumbs down no bad|👏 clap bravo|🙌 hooray hands|🙏 please thanks pray|💪 strong muscle|👀 eyes look|❤️ heart love red|💙 heart blue|💔 broken heart|✨ sparkles|⭐ star|🔥 fire hot|🎉 tada party|🎂 cake birthday|🏆 trophy win|🚀 rocket ship launch|🌍 earth world|🌞 sun|🌱 plant grow|🐶 dog|🐱 cat|☕ coffee|🍺 beer|🍕 pizza|💡 idea light|💻 computer laptop|📌 pin|📝 note write memo|📅 calendar date|📈 chart up|📦 package box ship|🔒 lock secure|🔑 key|🔧 wrench fix|📣 announce megaphone|💬 talk speech chat|✅ done check yes|❌ no cross|⚠️ warning|❓ question|❗ important|🔍 search look|⏳ wait hourglass|💯 hundred perfect|🚧 construction wip`
  .split('|').map(entry => [entry.slice(0, entry.indexOf(' ')), entry.slice(entry.indexOf(' ') + 1)])

/** Opens above `button`; `pick` gets the emoji. Closes by Esc, by a press elsewhere, or when one is chosen. */
function emojiPicker(button, pick) {
  const grid = h('.grid', { role: 'group', 'aria-label': 'Emoji' })
  const search = h('input.input', { type: 'search', 'aria-label': 'Find an emoji', placeholder: 'Find an emoji', autocomplete: 'off' })
  const element = h('.emoji', { popover: 'auto', role: 'dialog', 'aria-label': 'Emoji' }, search, grid)
  const draw = () => {
    const wanted = search.value.trim().toLowerCase()
    const found = ALL.filter(([, words]) => words.split(' ').some(word => word.startsWith(wanted)))
    grid.replaceChildren(...found.map(([emoji, words], index) => h('button', {
      type: 'button', title: words.split(' ')[0], 'aria-label': words, tabindex: index ? '-1' : '0',
      onclick() {
        element.hidePopover()
        pick(emoji)
      },
    }, emoji)))
    if (!found.length) grid.append(h('p.hint', 'None is called that.'))
  }
  search.addEventListener('input', draw)
  element.addEventListener('keydown', event => {
    const buttons = [...grid.querySelectorAll('button')]
    const at = buttons.indexOf(document.activeElement)
    const wide = getComputedStyle(grid).gridTemplateColumns.split(' ').length
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at < 0 ? 0 : at + wide, ArrowUp: at - wide }[event.key]
    if (event.key === 'Enter' && at < 0) {
      event.preventDefault()
      buttons[0]?.click()
    } else if (to !== undefined && (at >= 0 || event.key === 'ArrowDown')) {
      event.preventDefault()
      if (to < 0) search.focus()
      else buttons[Math.min(to, buttons.length - 1)]?.focus()
    }
  })
  element.addEventListener('toggle', event => {
    button.setAttribute('aria-expanded', String(event.newState === 'open'))
    if (event.newState === 'open') {
      search.value = ''
      draw()
      search.focus()
    }
  })
  button.setAttribute('aria-expanded', 'false')
  button.popoverTargetElement = element
  return element
}
