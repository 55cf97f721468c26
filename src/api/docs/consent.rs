//! What is told about what people let reach them: blocks, hidden chats, invitations.

use serde_json::json;

use super::{
    schemas::Schemas,
    told::{Fault, Told, done, fault, json_body, ok},
    users::{after, limit},
};
use crate::api::blocks::{Block, Blocks};

const TAG: &str = "People and consent";
const NO_SUCH_USER: Fault = fault(404, "user_not_found", "There is no user named \"zoe\".");
const ONESELF: Fault = fault(409, "conflict", "Nobody blocks themselves.");
const NOT_INVITED: Fault = fault(404, "chat_not_found", "Chatroom not found");
/// One is in as many rooms as one may be.
pub const FULL_LIST: Fault =
    fault(409, "conflict", "You are in as many chats as one may make or join (limits.rooms_per_user).");
/// Somebody blocks who asks.
pub const NOT_TAKEN: Fault = fault(403, "not_taken", "\"bob\" takes no messages or invitations from you.");

pub fn told() -> Vec<Told> {
    vec![
        Told {
            method: "GET",
            path: "/users/me/blocks",
            id: "blocks",
            summary: "List whom one blocks",
            about: "In order of when their accounts were made.",
            tag: TAG,
            parameters: vec![after("AaID8-2beKSdKmsfDz8cVQ"), limit()],
            body: None,
            answers: ok("A page.", Schemas::add::<Blocks>, json!({ "users": [{ "username": "bob" }], "next": null })),
            faults: vec![],
        },
        Told {
            method: "POST",
            path: "/users/me/blocks",
            id: "block",
            summary: "Block somebody",
            about: "They cannot open a private chat with one, invite one to a group, nor post in the private chat they have with \
                    one: 403 `not_taken`. Neither of the two is told the other's presence, typing and read marks. Again is as \
                    good as once. Nobody is told of it.",
            tag: TAG,
            parameters: vec![],
            body: json_body(Schemas::add::<Block>, vec![("bob", json!({ "username": "bob" }))]),
            answers: done("User blocked successfully"),
            faults: vec![NO_SUCH_USER, ONESELF],
        },
        Told {
            method: "DELETE",
            path: "/users/me/blocks/{username}",
            id: "unblock",
            summary: "Block somebody no longer",
            about: "Again is as good as once.",
            tag: TAG,
            parameters: vec![],
            body: None,
            answers: done("User unblocked successfully"),
            faults: vec![NO_SUCH_USER, ONESELF],
        },
        Told {
            method: "POST",
            path: "/chat/{chat_id}/join",
            id: "join_chat",
            summary: "Accept an invitation",
            about: "Who left a group or declined it comes back only so; and so does, where `auth.invites` is `ask`, who shares no \
                    room with the inviter. Until then `GET /chat/my-chats` shows the chat with `\"state\":\"invited\"` and `by`, and \
                    nothing else of it is told. For a member there is nothing to do.",
            tag: TAG,
            parameters: vec![],
            body: None,
            answers: done("Joined successfully"),
            faults: vec![NOT_INVITED, FULL_LIST],
        },
        Told {
            method: "POST",
            path: "/chat/{chat_id}/decline",
            id: "decline_chat",
            summary: "Decline an invitation",
            about: "Who is invited again must be asked again.",
            tag: TAG,
            parameters: vec![],
            body: None,
            answers: done("Declined successfully"),
            faults: vec![NOT_INVITED],
        },
        Told {
            method: "POST",
            path: "/chat/{chat_id}/hide",
            id: "hide_chat",
            summary: "Hide a private chat",
            about: "`GET /chat/my-chats` leaves it out until its next message, or until one opens it again by `POST /chat/new`. \
                    The other is not told.",
            tag: TAG,
            parameters: vec![],
            body: None,
            answers: done("Chatroom hidden until its next message"),
            faults: vec![fault(403, "forbidden", "A private chat can be hidden; leave a group instead.")],
        },
    ]
}
