// How people, rooms and times are shown: initials on a colour that is theirs for ever, counts and lists of names, and
// times as people say them, in their own language and time zone.

import { h } from './dom.js'

const TONES = 18

/** The same text gives the same colour on every machine (FNV-1a over its UTF-16 units). */
export function tone(text) {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return 'tone-' + ((hash ^ hash >>> 15) >>> 0) % TONES
}

const letters = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
const first = text => letters.segment(text)[Symbol.iterator]().next().value?.segment ?? ''

/** One or two letters: of the first two words, or of the first. */
function initials(text) {
  const words = text.trim().split(/[\s._\-–—/:]+/u).map(word => word.replace(/^[^\p{L}\p{N}\p{Extended_Pictographic}]+/u, '')).filter(Boolean)
  if (!words.length) return first(text.trim()) || '?'
  const one = first(words[0])
  if (words.length === 1 || /\p{Extended_Pictographic}/u.test(one)) return one.toLocaleUpperCase()
  return (one + first(words[1])).toLocaleUpperCase()
}

/** A person is round, a group is square. `here` adds the dot of presence. */
export function avatar(text, { group = false, here, size = '' } = {}) {
  const face = h('span.avatar', { class: `${tone(text)} ${group ? 'group' : ''} ${size}`, 'aria-hidden': 'true' }, initials(text))
  if (here !== undefined) face.append(dot(here))
  return face
}

export const dot = here =>
  h('span.dot', { data: { testid: 'dot', here: here ? 'online' : 'offline' } })

/** 1 person, 2 people. */
export const count = (n, one, many) => `${n.toLocaleString()} ${n === 1 ? one : many}`

/** ann, bob and 3 others. */
export function listing(names, most = 3) {
  if (names.length <= most) return new Intl.ListFormat(undefined, { type: 'conjunction' }).format(names)
  return `${names.slice(0, most - 1).join(', ')} and ${names.length - most + 1} others`
}

export const roles = {
  owner: 'Owner',
  moderator: 'Moderator',
  member: 'Member',
  reader: 'Reader',
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' })
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'long' })
const dayOfYear = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' })
const dayOfAnyYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' })
const short = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' })
const shortYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' })
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' })

const startOf = date => new Date(date.getFullYear(), date.getMonth(), date.getDate())
const daysAgo = (date, now = new Date()) => Math.round((startOf(now) - startOf(date)) / 86_400_000)
const capital = text => text.charAt(0).toLocaleUpperCase() + text.slice(1)

export const time = at => clock.format(at)
export const wholeTime = at => whole.format(at)
export const dayKey = at => `${at.getFullYear()}-${at.getMonth() + 1}-${at.getDate()}`
export const date = at => dayOfAnyYear.format(at)

/** Over the messages of a day. */
export function day(at) {
  const ago = daysAgo(at)
  if (ago === 0 || ago === 1) return capital(relative.format(-ago, 'day'))
  if (ago > 1 && ago < 7) return capital(weekday.format(at))
  return (at.getFullYear() === new Date().getFullYear() ? dayOfYear : dayOfAnyYear).format(at)
}

/** In the list of rooms, where there is little place. */
export function brief(at) {
  const ago = daysAgo(at)
  if (ago <= 0) return time(at)
  if (ago === 1) return capital(relative.format(-1, 'day'))
  return (at.getFullYear() === new Date().getFullYear() ? short : shortYear).format(at)
}
