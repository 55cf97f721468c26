// Runs after the client of README.md, up to its use: one post before the server is killed, one while it is gone.
const bob = await signIn('/token', new URLSearchParams({ username: 'bob', password: 'correct horse battery' }))
const { chats: [{ chat_id: chat }] } = await call('/chat/my-chats', bob.access_token)
let refusals = 0
let refused
const isRefused = new Promise(resolve => (refused = resolve))
globalThis.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given)
    this.addEventListener('error', () => ++refusals === 2 && refused())
  }
}

let seen
const isSeen = new Promise(resolve => (seen = resolve))
const rooms = await follow(bob, event => {
  if (event.type !== 'message') return
  console.log('got', event.content)
  if (event.content === 'two') seen()
})
await rooms.post(chat, 'one')
console.log('kill it')
await isRefused
console.log('start it')
const { duplicate } = await rooms.post(chat, 'two')
console.log('acknowledged', duplicate)
await isSeen
rooms.stop()
