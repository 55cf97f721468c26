//! What is told about chats: opening them, what is said in them, who is in them.

use serde_json::{Value, json};

use super::{
    consent::{FULL_LIST, NOT_TAKEN},
    faults::LONG,
    schemas::Schemas,
    told::{CHAT, Detail, EPOCH, Fault, MESSAGE, Parameter, TIME, Told, done, fault, json_body, ok},
    users::{after, limit},
};
use crate::{
    api::{
        chats::{Chats, Created, NewChat, Rename},
        members::{Invitation, Members, RoleChange},
        messages::{About, NewMessage, ReadAnswer, ReadMark, Sent},
    },
    protocol::FoldedMessage,
};

const CHATS: &str = "Chats";
pub const MESSAGES: &str = "Messages";
const MEMBERS: &str = "Members";

const NO_SUCH_USER: Fault = fault(404, "user_not_found", "There is no user named \"zoe\".");
const NO_SUCH_MEMBER: Fault = fault(404, "member_not_found", "\"zoe\" is not a member of this chat.");
const BELOW: Fault = fault(403, "forbidden", "Only an owner changes who is owner or moderator.");
const LAST_OWNER: Fault = fault(409, "conflict", "They are the last owner; make somebody else owner first.");

/// An event that was said, as the log has it.
pub fn message() -> Value {
    json!({
        "type": "message",
        "chat_id": CHAT,
        "seq": 3,
        "message_id": MESSAGE,
        "sender": "ann",
        "sent_at": TIME,
        "content": "Hello, Bob",
        "client_id": "hello-1",
    })
}

/// A message as history has it, once edited.
pub fn folded() -> Value {
    let mut folded = message();
    folded["content"] = json!("Hello, Bob!");
    folded["edited_at"] = json!(TIME);
    folded
}

/// Somebody came.
pub fn member() -> Value {
    json!({
        "type": "member",
        "chat_id": CHAT,
        "seq": 2,
        "sent_at": TIME,
        "by": "ann",
        "username": "bob",
        "change": "added",
        "role": "member",
    })
}

fn seq(place: &'static str, name: &'static str, about: &'static str, example: u64) -> Parameter {
    let schema = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX });
    Parameter { place, required: false, name, about, schema, example: json!(example) }
}

/// The cursor of `/ws/chat/{chat_id}`.
pub fn since() -> Parameter {
    seq("query", "since", "Replays what came after this event of the log, and then goes on live.", 3)
}

fn cursors() -> Vec<Parameter> {
    vec![
        seq("query", "before", "The last events before this one. Not together with `after`.", 4),
        seq("query", "after", "The first events after this one. Not together with `before`.", 0),
        limit(),
    ]
}

fn around() -> Parameter {
    seq("query", "around", "A page with this event in its middle. Not together with `before` and `after`.", 3)
}

fn with() -> Parameter {
    let about = "`deleted`: deleted messages are there too, `deleted` and without their text.";
    let schema = json!({ "type": "string", "enum": ["deleted"] });
    Parameter { place: "query", required: false, name: "with", about, schema, example: json!("deleted") }
}

fn stretch(schemas: &mut Schemas, name: &str, field: &str, about: &str, items: Value) -> Value {
    let ends = schemas.add::<About>();
    let list = json!({ "type": "array", "items": items });
    let own = json!({ "type": "object", "required": [field], "properties": { (field): list } });
    schemas.put(name, json!({ "description": about, "allOf": [own, ends] }))
}

fn messages(schemas: &mut Schemas) -> Value {
    let message = schemas.add::<FoldedMessage>();
    stretch(schemas, "Messages", "messages", "Messages of a log in their latest form, in its order.", message)
}

fn events(schemas: &mut Schemas) -> Value {
    let event = schemas.event();
    stretch(schemas, "Events", "events", "A stretch of a log, without holes.", event)
}

/// One way or the other: the type's fields, told apart.
fn new_chat(schemas: &mut Schemas) -> Value {
    let whole = schemas.add::<NewChat>();
    let Some(schema) = schemas.get_mut("NewChat") else { return whole };
    let fields = schema["properties"].take();
    let given = |name: &str, kind: &str| {
        let mut field = fields[name].clone();
        field["type"] = json!(kind);
        field
    };
    let none = json!({ "type": "null" });
    *schema = json!({
        "description": schema["description"],
        "oneOf": [
            {
                "title": "Private",
                "type": "object",
                "required": ["username"],
                "properties": { "username": given("username", "string"), "name": none, "usernames": none },
            },
            {
                "title": "Group",
                "type": "object",
                "required": ["name", "usernames"],
                "properties": { "name": given("name", "string"), "usernames": given("usernames", "array"), "username": none },
            },
        ],
    });
    whole
}

pub fn told() -> Vec<Told> {
    [about_chats(), about_messages(), about_members()].into_iter().flatten().collect()
}

fn about_chats() -> Vec<Told> {
    vec![
        Told {
            method: "POST",
            path: "/chat/new",
            id: "open_chat",
            summary: "Open a private chat, or make a group",
            about: "`username` alone opens the private chat with somebody: there is one for two people, for ever, and where it is \
                    there already the answer is 400 with its id. `name` and `usernames` make a group; who makes it is its owner, \
                    the others are members.",
            tag: CHATS,
            parameters: vec![],
            body: json_body(
                new_chat,
                vec![
                    ("private", json!({ "username": "bob" })),
                    ("group", json!({ "name": "Tea", "usernames": ["bob", "cho"] })),
                ],
            ),
            answers: ok(
                "The chat is there.",
                Schemas::add::<Created>,
                json!({ "message": "Chatroom created successfully", "chat_id": CHAT }),
            ),
            faults: vec![
                Fault { status: 400, code: "chat_exists", detail: Detail::Chat },
                NOT_TAKEN,
                NO_SUCH_USER,
                FULL_LIST,
            ],
        },
        Told {
            method: "GET",
            path: "/chat/my-chats",
            id: "my_chats",
            summary: "List one's chats",
            about: "Latest activity first, each with how far one has read and its latest message.",
            tag: CHATS,
            parameters: vec![after("AAABk0mJ2K8BogPz7hFwPoWl6lurjnsT"), limit()],
            body: None,
            answers: ok(
                "A page.",
                Schemas::add::<Chats>,
                json!({
                    "chats": [{
                        "chat_id": CHAT,
                        "users": ["ann", "bob"],
                        "kind": "private",
                        "name": null,
                        "role": "member",
                        "epoch": EPOCH,
                        "head_seq": 3,
                        "read_seq": 2,
                        "unread": 1,
                        "last_message": message(),
                    }],
                    "next": null,
                }),
            ),
            faults: vec![LONG],
        },
        Told {
            method: "PATCH",
            path: "/chat/{chat_id}",
            id: "rename_chat",
            summary: "Rename a group",
            about: "The new name is an event of its log.",
            tag: CHATS,
            parameters: vec![],
            body: json_body(Schemas::add::<Rename>, vec![("name", json!({ "name": "Tea and biscuits" }))]),
            answers: done("Chatroom updated successfully"),
            faults: vec![],
        },
    ]
}

fn about_messages() -> Vec<Told> {
    vec![
        Told {
            method: "GET",
            path: "/chat/{chat_id}",
            id: "messages",
            summary: "Read a chat's messages",
            about: "Each in its latest form as of `head_seq`: events after that, folded onto the page, give what a later page would say. \
                    In the order of the log; without a cursor: the latest. `seq` has holes where events of other types are. Deleted \
                    messages are left out, so a page may be short, even empty: the end is where a `next_` is null.",
            tag: MESSAGES,
            parameters: [cursors(), vec![around(), with()]].concat(),
            body: None,
            answers: ok(
                "A page.",
                messages,
                json!({ "messages": [message()], "head_seq": 3, "epoch": EPOCH, "next_before": null, "next_after": null }),
            ),
            faults: vec![LONG],
        },
        Told {
            method: "POST",
            path: "/chat/{chat_id}",
            id: "post",
            summary: "Post a message",
            about: "The answer comes once the message is on disk. Give it a `client_id`, and send it again with the same one as \
                    long as there is no answer: it is one message, and the answer says `duplicate`.",
            tag: MESSAGES,
            parameters: vec![],
            body: json_body(
                Schemas::add::<NewMessage>,
                vec![("hello", json!({ "message": "Hello, Bob", "client_id": "hello-1" }))],
            ),
            answers: ok(
                "It is on disk.",
                Schemas::add::<Sent>,
                json!({
                    "message": "Message sent successfully",
                    "chat_id": CHAT,
                    "message_id": MESSAGE,
                    "seq": 3,
                    "sent_at": TIME,
                    "duplicate": false,
                }),
            ),
            faults: vec![
                NOT_TAKEN,
                fault(409, "conflict", "This client_id has been used for another message; give each message its own."),
            ],
        },
        Told {
            method: "GET",
            path: "/chat/{chat_id}/events",
            id: "events",
            summary: "Read a chat's log",
            about: "Every event, of every type, without holes: the same bytes as on sockets. Without a cursor: the latest. A message \
                    that was deleted, and its edits, are `deleted` and have no text.",
            tag: MESSAGES,
            parameters: cursors(),
            body: None,
            answers: ok(
                "A page.",
                events,
                json!({
                    "events": [member(), message()],
                    "head_seq": 3,
                    "epoch": EPOCH,
                    "next_before": 2,
                    "next_after": null,
                }),
            ),
            faults: vec![LONG],
        },
        Told {
            method: "POST",
            path: "/chat/{chat_id}/read",
            id: "mark_read",
            summary: "Say how far one has read",
            about: "It never moves back.",
            tag: MESSAGES,
            parameters: vec![],
            body: json_body(Schemas::add::<ReadMark>, vec![("latest", json!({ "seq": 3 }))]),
            answers: ok("The mark.", Schemas::add::<ReadAnswer>, json!({ "read_seq": 3, "unread": 0 })),
            faults: vec![],
        },
    ]
}

fn about_members() -> Vec<Told> {
    vec![
        Told {
            method: "GET",
            path: "/chat/{chat_id}/members",
            id: "members",
            summary: "List a chat's members",
            about: "In order of joining.",
            tag: MEMBERS,
            parameters: vec![after("AaID8-2beKSdKmsfDz8cVQ"), limit()],
            body: None,
            answers: ok(
                "A page.",
                Schemas::add::<Members>,
                json!({ "members": [{ "username": "ann", "role": "owner", "read_seq": 3 }], "next": null }),
            ),
            faults: vec![LONG],
        },
        Told {
            method: "POST",
            path: "/chat/{chat_id}/members",
            id: "invite",
            summary: "Invite to a group",
            about: "Moderators let in members and readers, owners anybody. Who left the group or declined it, or (where `auth.invites` is \
                    `ask`) shares no room with the inviter, is `invited`, and a member once they accept.",
            tag: MEMBERS,
            parameters: vec![],
            body: json_body(
                Schemas::add::<Invitation>,
                vec![("dan", json!({ "username": "dan" })), ("reader", json!({ "username": "eve", "role": "reader" }))],
            ),
            answers: done("Member added successfully"),
            faults: vec![NOT_TAKEN, NO_SUCH_USER],
        },
        Told {
            method: "PATCH",
            path: "/chat/{chat_id}/members/{username}",
            id: "change_role",
            summary: "Change a member's role",
            about: "Moderators change members and readers, owners anybody. The last owner stays one.",
            tag: MEMBERS,
            parameters: vec![],
            body: json_body(Schemas::add::<RoleChange>, vec![("moderator", json!({ "role": "moderator" }))]),
            answers: done("Role changed successfully"),
            faults: vec![NO_SUCH_MEMBER, BELOW, LAST_OWNER],
        },
        Told {
            method: "DELETE",
            path: "/chat/{chat_id}/members/{username}",
            id: "remove_member",
            summary: "Remove a member, or leave",
            about: "Everybody may leave a group, but for the last owner of others. Moderators remove members and readers, owners \
                    anybody. A private chat keeps its two members.",
            tag: MEMBERS,
            parameters: vec![],
            body: None,
            answers: done("Member removed successfully"),
            faults: vec![
                NO_SUCH_MEMBER,
                fault(403, "forbidden", "Only an owner, or a moderator for those below, removes members."),
                LAST_OWNER,
            ],
        },
    ]
}
