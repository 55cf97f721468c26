//! Who is in the demo and what they say. Nothing here does anything.
//!
//! A team makes an app with the timetables of ferries. The opening is there when a visitor comes; the scenes follow one
//! another for as long as the demo runs, and begin again after the last.

/// They talk by themselves.
pub const TEAM: [&str; 6] = ["maya", "jonas", "amara", "kenji", "sofia", "leila"];

/// For whoever looks: one of the people, and one who is an admin, too.
pub const GUEST: &str = "guest";
pub const ADMIN: &str = "admin";

pub struct Group {
    pub name: &'static str,
    /// The first is its owner.
    pub members: &'static [&'static str],
}

pub const EVERYONE: &str = "Everyone";
pub const RELEASE: &str = "Release 2.4";
pub const SUPPORT: &str = "Support";
pub const LUNCH: &str = "Lunch";

pub const GROUPS: [Group; 4] = [
    Group { name: EVERYONE, members: &["maya", "jonas", "amara", "kenji", "sofia", "leila", GUEST, ADMIN] },
    Group { name: RELEASE, members: &["kenji", "maya", "jonas", "leila", GUEST] },
    Group { name: SUPPORT, members: &["amara", "sofia", "jonas", GUEST, ADMIN] },
    Group { name: LUNCH, members: &["sofia", "maya", "kenji", "leila", GUEST] },
];

/// Private rooms, by who opens them.
pub const PAIRS: [(&str, &str); 3] = [("maya", GUEST), ("kenji", GUEST), ("sofia", ADMIN)];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Group(&'static str),
    /// The private room of who speaks and this one.
    With(&'static str),
}

use Place::{Group as In, With};

pub struct Scene {
    pub place: Place,
    /// Who, and what.
    pub lines: &'static [(&'static str, &'static str)],
}

const fn scene(place: Place, lines: &'static [(&'static str, &'static str)]) -> Scene {
    Scene { place, lines }
}

pub const OPENING: &[Scene] = &[
    scene(
        In(EVERYONE),
        &[
            ("maya", "Good morning, all! Quick round: what is everybody on today?"),
            ("jonas", "Offline timetables. The sync works, the tests still disagree with me."),
            ("amara", "Support until noon, then the new help pages."),
            ("leila", "صباح الخير! I'm checking the Arabic layout: everything mirrored, the map not."),
            ("kenji", "Release notes for 2.4, and then I break things on the old phones."),
            ("sofia", "Photos for the harbour pages. I have 214 pictures of seagulls and three of ferries."),
            ("maya", "That sounds about right 😄"),
        ],
    ),
    scene(
        In(LUNCH),
        &[
            ("sofia", "Noodles or the new place on the pier?"),
            ("leila", "The pier, if it doesn't rain."),
            ("kenji", "It will rain. Noodles. 🍜"),
        ],
    ),
    scene(
        In(SUPPORT),
        &[
            ("amara", "Three people wrote that the 17:40 is missing on Sundays."),
            ("jonas", "It is missing on Sundays. The operator took it out for the winter."),
            ("amara", "Then the app is right, and nobody is happy. I'll write a friendly answer."),
            ("sofia", "Could we show a note, \"not in winter\"? People look for the boat they know."),
            ("jonas", "Good idea. I'll see whether the data says so."),
        ],
    ),
    scene(
        In(RELEASE),
        &[
            ("kenji", "Branch is cut. What is still open for 2.4?"),
            ("jonas", "One crash, when the clock changes while the app is open. Fix is in review."),
            ("leila", "Two strings without a translation."),
            ("maya", "Then we ship tomorrow before noon, and nothing on Friday."),
            (
                "jonas",
                "The crash, for the record:\n```\ndeparture 02:30 does not exist on 2026-03-29\n  at Timetable::next (timetable.rs:118)\n```",
            ),
            ("kenji", "An hour that does not exist. I love computers."),
        ],
    ),
    scene(With(GUEST), &[("maya", "Hi, and welcome! Have a look around. If you write to me here, I'll answer.")]),
    scene(With(GUEST), &[("kenji", "Hello! Tell me when something on your screen looks odd, that's my job 🙂")]),
    scene(With(ADMIN), &[("sofia", "Somebody new starts on Monday. Can you make an account for her, please?")]),
];

pub const SCENES: &[Scene] = &[
    scene(
        In(EVERYONE),
        &[
            ("jonas", "The tests agree with me now."),
            ("maya", "What was it?"),
            (
                "jonas",
                "I had written the harbour of Kiel into the Baltic twice. Two harbours, one ferry, much confusion.",
            ),
            ("sofia", "Poor passengers 🛳️"),
            ("amara", "Can we have that as an easter egg?"),
            ("maya", "We cannot."),
        ],
    ),
    scene(
        In(RELEASE),
        &[
            ("kenji", "Old phones are done. On the small one the button \"Next ferry\" slid under the keyboard."),
            ("leila", "Seen it. The page measures itself before the keyboard is there."),
            ("kenji", "Do you want a ticket or a chocolate bar?"),
            ("leila", "Ticket, please. And the chocolate bar."),
            ("jonas", "The clock fix is merged. Whoever is curious: https://example.org/harbour/merge/412"),
            ("maya", "Thank you! That was the last one, then?"),
            ("kenji", "Two strings. Then it was the last one."),
        ],
    ),
    scene(
        In(SUPPORT),
        &[
            ("amara", "New one: \"the app tells me to walk into the sea\"."),
            ("sofia", "Walking directions to a pier that was moved?"),
            ("amara", "Yes. Pier 4 is 80 metres further north since last week."),
            ("jonas", "The map has it, our copy of the map has not. Updating now."),
            ("amara", "I'll tell him to wait for the ferry with dry feet."),
        ],
    ),
    scene(
        In(LUNCH),
        &[
            ("kenji", "It rains. 🍜 has won."),
            ("maya", "12:15 at the door?"),
            ("sofia", "12:20, I'm waiting for an upload of seagulls."),
            ("leila", "Keep me a seat by the window, please."),
        ],
    ),
    scene(
        With(GUEST),
        &[
            (
                "maya",
                "By the way: open a second browser window and sign in as somebody else, then you can talk to yourself.",
            ),
            ("maya", "It's less odd than it sounds, everybody here does it when they test."),
        ],
    ),
    scene(
        In(EVERYONE),
        &[
            ("leila", "Arabic is mirrored everywhere now. Even the little boat swims the other way."),
            ("sofia", "The boat!! 😍"),
            ("maya", "Beautiful. Does the map stay as it is?"),
            ("leila", "The map stays. North is up in every language."),
            ("amara", "I'd like that sentence on a mug."),
        ],
    ),
    scene(
        In(RELEASE),
        &[
            ("leila", "Both strings are translated: \"Letzte Fähre verpasst\" and \"最終便に乗り遅れました\"."),
            ("kenji", "That is the saddest pair of strings we have."),
            ("jonas", "Start of the app on the old phone, in milliseconds:\n```\n2.3   1840\n2.4    920\n```"),
            ("maya", "Half! What did you do?"),
            ("jonas", "It read all timetables of Europe before it showed one. Now it reads one."),
            ("kenji", "Tagged. Going through the checklist, I'll shout if anything burns."),
        ],
    ),
    scene(
        In(SUPPORT),
        &[
            ("sofia", "A school class asks whether they may visit \"the place where ferries are made\"."),
            ("amara", "We make ferries?"),
            ("jonas", "We make lists of ferries."),
            ("sofia", "I told them so, they'd still like to come. There will be a cake."),
            ("amara", "Then we make ferries."),
        ],
    ),
    scene(
        With(GUEST),
        &[
            ("kenji", "Small tip: switch off your network for a moment, write something, and switch it on again."),
            ("kenji", "It arrives once, and in its place. I tried it about a hundred times."),
        ],
    ),
    scene(
        In(LUNCH),
        &[
            ("sofia", "Noodles were excellent, thank you all."),
            ("maya", "Tomorrow the pier, whatever the weather does."),
            ("kenji", "I'll bring the big umbrella ☔"),
            ("leila", "I'll bring the small one, for the soup."),
        ],
    ),
    scene(
        In(EVERYONE),
        &[
            ("amara", "The help pages are up. If you have five minutes, read one, and tell me where you got lost."),
            ("jonas", "Got lost at \"simply\". Nothing after that word has ever been simple."),
            ("amara", "Taken out, in eleven places."),
            ("kenji", "And the screenshots show version 2.2."),
            ("amara", "They'll show 2.4 an hour after you ship it."),
            ("maya", "This is why I like working with you."),
        ],
    ),
    scene(
        In(RELEASE),
        &[
            ("kenji", "Checklist is done, nothing burns. Shall I press the button?"),
            ("maya", "Jonas, Leila?"),
            ("jonas", "Yes."),
            ("leila", "نعم. Yes!"),
            ("kenji", "2.4 is out, to one phone in a hundred for a start. 🚢"),
            ("maya", "Well done, all of you. Cake at four."),
        ],
    ),
    scene(
        With(ADMIN),
        &[
            (
                "sofia",
                "Found it: you can end somebody's logins on the people page. I left mine open at the library, could you?",
            ),
            ("sofia", "No hurry, the librarian only looked at the seagulls."),
        ],
    ),
    scene(
        In(SUPPORT),
        &[
            ("amara", "First mail about 2.4: \"Did you do something? It's fast.\""),
            ("jonas", "Print it. Frame it."),
            ("sofia", "I have a frame left over from the seagulls."),
            ("amara", "One in a hundred has it, and already somebody says thank you. Good day."),
        ],
    ),
];

/// What one of the team says to a visitor who wrote to them, in turns.
pub const REPLIES: [&str; 8] = [
    "Thanks for writing! I'm part of the demo, so I only have a few sentences. This is one of them.",
    "Got it 👍",
    "Good question. What would you do?",
    "Let me ask the others and come back to you.",
    "Ha, that made me laugh.",
    "You should see it under your message when I have read it.",
    "I'd say: yes, but not on a Friday.",
    "Can you write that into the group, too? Then it isn't lost.",
];
