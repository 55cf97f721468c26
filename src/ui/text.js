// A message's text as nodes: links, code and mentions are found, everything else is text. Nothing is parsed as HTML.

import { h } from './dom.js'

const FENCE = /^```[^\S\n]*([\w+#.-]*)[^\S\n]*\n([\s\S]*?)\n?```[^\S\n]*$/gm
const PIECE = /(`+)(?!`)([^\n]+?)(?<!`)\1(?!`)|\bhttps?:\/\/[^\s<>"'`\u2066-\u2069\u202a-\u202e]+|(?<![\p{L}\p{N}_@])@[\p{L}\p{N}_.\-]+/giu
const PICTURES = /^[\p{Extended_Pictographic}\p{Regional_Indicator}\u{1f3fb}-\u{1f3ff}\u{e0020}-\u{e007f}\u200d\ufe0f\u20e3\s]+$/u
const LONG_LINES = 24
const LONG_CHARS = 2_000

/** A few emoji and nothing else: they are shown bigger. */
export const isOnlyEmoji = text => text.length <= 80 && PICTURES.test(text) && /[^\s]/.test(text)

/** A long one is folded until somebody wants it. */
export const isLong = text => text.length > LONG_CHARS || text.split('\n', LONG_LINES + 1).length > LONG_LINES

/** `names`: who may be mentioned; `me`: whose mention stands out. */
export function nodesOf(text, { names = [], me = '' } = {}) {
  const nodes = []
  let end = 0
  for (const match of text.matchAll(FENCE)) {
    inline(text.slice(end, match.index).replace(/\n$/, ''), nodes, names, me)
    nodes.push(h('pre', { tabindex: '0', dir: 'ltr', 'aria-label': match[1] ? `Code, ${match[1]}` : 'Code' }, h('code', match[2])))
    end = match.index + match[0].length
    if (text[end] === '\n') end++
  }
  inline(text.slice(end), nodes, names, me)
  return nodes
}

function inline(text, nodes, names, me) {
  let end = 0
  const plain = to => { if (to > end) nodes.push(document.createTextNode(text.slice(end, to))) }
  for (const match of text.matchAll(PIECE)) {
    const [found, ticks, code] = match
    const node = ticks ? h('code', code.trim() || code) : found[0] === '@' ? mention(found, names, me) : link(found)
    if (!node) continue
    plain(match.index)
    nodes.push(node)
    end = match.index + (ticks ? found : node.textContent).length
  }
  plain(text.length)
}

/** An anchor for an address that is one, without the punctuation that ends the sentence around it. */
function link(found) {
  const counts = {}
  for (const char of found) counts[char] = (counts[char] ?? 0) + 1
  let end = found.length
  for (; end > 0; end--) {
    const last = found[end - 1]
    const opens = { ')': '(', ']': '[', '}': '{' }[last]
    const closesTooMuch = opens && counts[last] > (counts[opens] ?? 0)
    if (!/[.,;:!?…*_~]/.test(last) && !closesTooMuch) break
    counts[last]--
  }
  const text = found.slice(0, end)
  const url = URL.canParse(text) ? new URL(text) : null
  if (!url || !/^https?:$/.test(url.protocol) || !url.hostname) return null
  return h('a', { href: url.href, target: '_blank', rel: 'noopener noreferrer', dir: 'ltr' }, text)
}

function mention(found, names, me) {
  let text = found.slice(1)
  while (text && !names.includes(text)) text = /[.\-]$/.test(text) ? text.slice(0, -1) : ''
  return text ? h('bdi.mention', { class: text === me ? 'me' : '' }, '@' + text) : null
}

/** One line for the list of rooms and for notifications. */
export const oneLine = text => text.slice(0, 300).replace(/```[\w+#.-]*\n?/g, '').replace(/\s+/gu, ' ').trim()
