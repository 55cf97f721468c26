// A team at work, for pictures and views with something in them: always the same people, words and times.
const NOW = '2026-03-12T15:24:00Z'

/** Each message: who, when, what. */
const talk = {
  priya: [
    ['priya', '12T13:02', 'Do you have ten minutes for the onboarding copy before the review?'],
    ['mira', '12T13:05', 'Yes! Send me what you have, I will read it over lunch.'],
    ['priya', '12T13:06', 'Here: https://docs.harbour.example/onboarding/draft-3'],
    ['priya', '12T13:06', 'The second screen is the one I am not sure about. It says “workspace” where everything else says “team”.'],
    ['mira', '12T13:41', 'Read it. It is good, and you are right: it should be “team” everywhere.'],
    ['mira', '12T13:42', 'Two small things:\n1. “Invite people” instead of “Add new users”\n2. the last sentence can go, nobody needs to be congratulated for typing their name 🙂'],
    ['priya', '12T13:44', 'Ha, true. Both done.'],
    ['priya', '12T15:17', 'Tests are green on the branch, by the way. The flaky one was mine:'],
    ['priya', '12T15:18', '```\n- await page.waitForTimeout(500)\n+ await page.getByRole("heading").waitFor()\n```'],
    ['mira', '12T15:20', 'Beautiful. Merge it and go outside, the sun is out.'],
    ['priya', '12T15:21', 'Already at the harbour wall ☀️'],
  ],
  jonas: [
    ['jonas', '12T09:12', 'Morning! Is the demo at 4 or at half past?'],
    ['mira', '12T09:15', 'Half past four, big room.'],
    ['jonas', '12T14:58', 'Projector works, I checked.'],
  ],
  'Launch week': [
    ['mira', '11T16:30', 'Last check before tomorrow: who is missing something?'],
    ['tomas', '11T16:34', 'Release notes are written, they need one more pair of eyes.'],
    ['elif', '11T16:36', 'I can do that tonight.'],
    ['jonas', '12T09:40', 'Good morning all. The staging database is a copy of production as of 8:00, so what you see there is what customers will see.'],
    ['elif', '12T09:52', 'Release notes read. I only changed the order: what people asked for comes first.'],
    ['tomas', '12T09:53', 'Much better, thank you!'],
    ['priya', '12T11:08', 'Sign-up is at 1.8 s on a slow phone now, down from 4.1.'],
    ['jonas', '12T11:09', '👏👏👏'],
    ['mira', '12T11:10', 'Wow. What was it?'],
    ['priya', '12T11:12', 'We loaded the map on the first screen. Nobody looks at a map on the first screen.'],
    ['elif', '12T15:10', 'The status page has a banner for the maintenance at 18:00. `deploy/window.toml` says 20 minutes, which should be plenty.'],
    ['tomas', '12T15:15', 'I will be on call until midnight, so sleep well.'],
    ['mira', '12T15:22', 'You are the best team. Cake is in the kitchen 🍰'],
  ],
  Design: [
    ['elif', '12T10:20', 'New icons are in the shared folder, light and dark.'],
    ['noor', '12T12:31', 'Love the compass. Could the anchor be a little less… heavy?'],
    ['elif', '12T14:44', 'Anchor went on a diet. Have another look?'],
  ],
  Lunch: [
    ['noor', '12T11:30', 'Soup place or the market?'],
    ['jonas', '12T11:31', 'Market!'],
  ],
}

export const people = { closing: talk.priya.at(-1)[2] }

/** Makes the team and its rooms; `mira` is who looks at it. `times` says when each message was sent. */
export async function seed(server) {
  const accounts = { mira: await server.admin('mira') }
  const names = ['priya', 'jonas', 'elif', 'tomas', 'noor']
  for (const name of names) accounts[name] = await server.account(name)
  const { mira, priya, jonas, elif, tomas, noor } = accounts
  const rooms = {
    Lunch: await noor.group('Lunch', mira, jonas, elif),
    Design: await elif.group('Design', mira, noor),
    jonas: await jonas.chatWith(mira),
    priya: await priya.chatWith(mira),
    'Launch week': await mira.group('Launch week', priya, jonas, elif, tomas),
  }
  await mira.call('PATCH', `/chat/${rooms['Launch week']}/members/elif`, { role: 'moderator' })
  const times = new Map()
  const lines = Object.entries(talk).flatMap(([room, lines]) => lines.map(([who, when, text]) => ({ room, who, when, text })))
  for (const { room, who, when, text } of lines.sort((a, b) => a.when.localeCompare(b.when))) {
    const { seq } = await accounts[who].post(rooms[room], text)
    times.set(`${rooms[room]} ${seq}`, `2026-03-${when}:00.000Z`)
  }
  // Two rooms have something unread, the others nothing.
  const { chats } = await mira.call('GET', '/chat/my-chats')
  for (const { chat_id, head_seq } of chats) {
    const unread = { [rooms.Design]: 1, [rooms.jonas]: 1 }[chat_id] ?? 0
    await mira.call('POST', `/chat/${chat_id}/read`, { seq: head_seq - unread })
  }
  await priya.call('POST', `/chat/${rooms.priya}/read`, { seq: chats.find(chat => chat.chat_id === rooms.priya).head_seq })
  return { accounts, rooms, times }
}

/** Has a browser believe that it is NOW and that messages were sent when `talk` says. */
export async function tidyTimes(context, times) {
  await context.clock.setFixedTime(NOW)
  await context.route(/\/(chat|users)\//, async route => {
    const answer = await route.fetch()
    const first = '2026-03-02T09:00:00.000Z'
    const tidy = (key, value) => {
      if (value?.sent_at && value.chat_id) return { ...value, sent_at: times.get(`${value.chat_id} ${value.seq}`) ?? '2026-03-11T16:00:00.000Z' }
      if (value?.created_at) return { ...value, created_at: first }
      return value
    }
    const json = await answer.json().catch(() => null)
    if (!json) return route.fulfill({ response: answer })
    await route.fulfill({ response: answer, json: JSON.parse(JSON.stringify(json), tidy) })
  })
}
