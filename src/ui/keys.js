// The keys of the whole page, and the dialog that tells them.

import { h } from './dom.js'
import { dialog } from './dialogs.js'

const HELP = [
  ['Ctrl K', 'Go to a chat or a person'],
  ['Alt ↑  Alt ↓', 'Previous, next chat'],
  ['Alt Shift ↑  Alt Shift ↓', 'Previous, next unread chat'],
  ['Enter', 'Send'],
  ['Shift Enter', 'New line'],
  ['↑', 'Edit your last message (in the empty field); message by message (in the messages)'],
  ['E  #', 'Edit, delete the message (in the messages)'],
  ['Page ↑  Page ↓', 'Scroll the messages'],
  ['End', 'To the latest message (in the messages)'],
  ['Esc', 'Everything here is read; closes what is open'],
  ['?', 'These keys'],
]

export function help() {
  const isMac = /Mac|iPhone|iPad/.test(navigator.platform)
  const key = text => h('kbd', isMac ? text.replace('Ctrl', '⌘').replace('Alt', '⌥') : text)
  dialog('Keyboard shortcuts', [
    h('dl.keys', HELP.map(([keys, what]) => h('div', h('dt', keys.split('  ').map(key)), h('dd', what)))),
    h('p.hint', 'In a message, `code` stands between backticks; a block of code between lines of three.'),
  ])
}

/** `actions`: find, step(by, onlyUnread), escape, help. */
export function listen(actions, { signal }) {
  addEventListener('keydown', event => {
    if (event.defaultPrevented) return
    const { key, altKey, shiftKey } = event
    const command = event.ctrlKey || event.metaKey
    if (command && !altKey && key.toLowerCase() === 'k') {
      event.preventDefault()
      if (!document.querySelector('dialog[open]')) actions.find()
      return
    }
    if (document.querySelector('dialog[open], :popover-open')) return
    const isWriting = event.target.closest?.('input, textarea, select, [contenteditable]')
    if (altKey && !command && (key === 'ArrowUp' || key === 'ArrowDown')) actions.step(key === 'ArrowUp' ? -1 : 1, shiftKey)
    else if (key === 'Escape') actions.escape()
    else if (key === '?' && !isWriting && !command && !altKey) actions.help()
    else return
    event.preventDefault()
  }, { signal })
}
