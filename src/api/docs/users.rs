//! What is told about everybody's accounts.

use serde_json::json;

use super::{
    faults::LONG,
    schemas::Schemas,
    told::{Fault, Parameter, TIME, Told, done, fault, json_body, ok},
};
use crate::api::{
    accounts::Registration,
    audit::Entries,
    users::{DeletionOf, Name, PasswordOf, RoleChange, Users},
};

const TAG: &str = "People";
const NO_SUCH_USER: Fault = fault(404, "user_not_found", "There is no user named \"zoe\".");
const LAST_ADMIN: Fault = fault(409, "conflict", "This is the last admin: make somebody else an admin first.");

const QUEUE: Fault = fault(429, "busy", "The server is busy (auth.password_queue); try again in a moment.");

/// `?limit=` of every list.
pub fn limit() -> Parameter {
    Parameter {
        place: "query",
        required: false,
        name: "limit",
        about: "How many entries at most.",
        schema: json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": 50 }),
        example: json!(50),
    }
}

/// `?after=` of lists whose cursors are opaque.
pub fn after(example: &str) -> Parameter {
    Parameter {
        place: "query",
        required: false,
        name: "after",
        about: "Goes on where an earlier page ended: its `next`, and nothing else.",
        schema: json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+$" }),
        example: json!(example),
    }
}

pub fn filter(name: &'static str, about: &'static str, example: &str) -> Parameter {
    Parameter {
        place: "query",
        required: false,
        name,
        about,
        schema: json!({ "type": "string" }),
        example: json!(example),
    }
}

fn prefix() -> Parameter {
    Parameter {
        place: "query",
        required: false,
        name: "q",
        about: "Only names that begin so, in any spelling that folds to it.",
        schema: json!({ "type": "string" }),
        example: json!("b"),
    }
}

fn of_role(id: &'static str, path: &'static str, summary: &'static str, message: &str, about: &'static str) -> Told {
    Told {
        method: "POST",
        path,
        id,
        summary,
        about,
        tag: TAG,
        parameters: vec![],
        body: json_body(Schemas::add::<RoleChange>, vec![("bob", json!({ "username": "bob", "role_name": "admin" }))]),
        answers: done(message),
        faults: vec![NO_SUCH_USER],
    }
}

fn of_account(id: &'static str, path: &'static str, summary: &'static str, message: &str, about: &'static str) -> Told {
    Told {
        method: "POST",
        path,
        id,
        summary,
        about,
        tag: TAG,
        parameters: vec![],
        body: None,
        answers: done(message),
        faults: vec![NO_SUCH_USER],
    }
}

pub fn told() -> Vec<Told> {
    vec![
        Told {
            method: "GET",
            path: "/users/users",
            id: "find_people",
            summary: "Find people",
            about: "Names in order of their case-folded forms, at most as many as a page may have (500); who is disabled is left \
                    out. `q` finds the others.",
            tag: TAG,
            parameters: vec![prefix()],
            body: None,
            answers: ok("The names.", Schemas::list::<Name>, json!([{ "username": "bob" }])),
            faults: vec![LONG],
        },
        Told {
            method: "GET",
            path: "/users/",
            id: "list_accounts",
            summary: "List all accounts",
            about: "In order of their case-folded names.",
            tag: TAG,
            parameters: vec![prefix(), after("Ym9i"), limit()],
            body: None,
            answers: ok(
                "A page.",
                Schemas::add::<Users>,
                json!({
                    "users": [{
                        "user_id": "01a203f3-ed9b-7a44-9d2a-6b1f0f3f1c56",
                        "username": "bob",
                        "display_name": "bob",
                        "roles": [{ "role_id": "2", "role_name": "basic_user" }],
                        "created_at": TIME,
                        "disabled": false,
                    }],
                    "next": null,
                }),
            ),
            faults: vec![LONG],
        },
        of_role("add_role", "/users/add-role", "Give a role", "Role added successfully", "Again is as good as once."),
        Told {
            faults: vec![NO_SUCH_USER, LAST_ADMIN],
            ..of_role(
                "remove_role",
                "/users/remove-role",
                "Take a role",
                "Role removed successfully",
                "Again is as good as once. The last admin stays one.",
            )
        },
        Told {
            faults: vec![NO_SUCH_USER, LAST_ADMIN],
            ..of_account(
                "disable",
                "/users/{username}/disable",
                "Disable an account",
                "User disabled successfully",
                "Its logins and sockets end, and it may not sign in. What it said stays. The last admin cannot be disabled.",
            )
        },
        of_account(
            "enable",
            "/users/{username}/enable",
            "Enable an account",
            "User enabled successfully",
            "It may sign in again.",
        ),
        of_account(
            "end_logins",
            "/users/{username}/logout",
            "End all logins of an account",
            "User logged out successfully",
            "Its tokens are worth nothing from now on, and its sockets are closed with 4401. It may sign in again.",
        ),
        Told {
            body: json_body(Schemas::add::<PasswordOf>, vec![("new", json!({ "password": "battery staple" }))]),
            faults: vec![NO_SUCH_USER, QUEUE],
            ..of_account(
                "reset_password",
                "/users/{username}/reset-password",
                "Give an account a new password",
                "Password reset successfully",
                "Its logins and sockets end. Tell the password to its owner, who may change it.",
            )
        },
        Told {
            method: "DELETE",
            body: json_body(
                Schemas::add::<DeletionOf>,
                vec![
                    ("keep", json!({ "messages": "keep" })),
                    ("erase", json!({ "messages": "erase" })),
                    ("free", json!({ "messages": "keep", "name": "free" })),
                ],
            ),
            faults: vec![NO_SUCH_USER, LAST_ADMIN],
            ..of_account(
                "delete_account",
                "/users/{username}",
                "Delete an account",
                "User deleted successfully",
                "For good. Its logins and sockets end and it leaves its groups; where it was the last owner, the member who has \
                 been there longest of those with the highest role is owner from then on. Its private chats stay, and nobody can post in them. \
                 The sender of what it said reads `deleted user` from then on, wherever it is told; with `erase`, each of its messages \
                 is deleted, in the background, and `GET /users/` tells how many were. Asked again, what was cut off is \
                 finished; the server also does it by itself. The last admin cannot be deleted. An account that is named like \
                 a path here (`me`, `users`, `create`) is deleted with `natter admin delete`.",
            )
        },
        Told {
            method: "POST",
            path: "/users/create",
            id: "create_account",
            summary: "Make an account",
            about: "With the role `basic_user`; also where sign-up is closed.",
            tag: TAG,
            parameters: vec![],
            body: json_body(
                Schemas::add::<Registration>,
                vec![("new", json!({ "username": "zoe", "password": "battery staple" }))],
            ),
            answers: done("User created successfully"),
            faults: vec![fault(400, "user_exists", "User already exists"), QUEUE],
        },
        Told {
            method: "GET",
            path: "/audit",
            id: "audit",
            summary: "Read the audit",
            about: "Sign-ins and failures, and what admins and operators did: the latest first, kept for `audit.days` days. No \
                    entry holds a password or a token.",
            tag: TAG,
            parameters: vec![
                filter("who", "Only entries of or about the account of this name.", "bob"),
                filter("what", "Only entries of this kind.", "sign_in_failed"),
                after("AaID9O6bekSdKmsfDz8cVg"),
                limit(),
            ],
            body: None,
            answers: ok(
                "A page.",
                Schemas::add::<Entries>,
                json!({ "entries": [{
                    "at": TIME,
                    "who": "bob",
                    "address": "192.0.2.7",
                    "what": "sign_in_failed",
                    "whom": null,
                    "detail": null,
                    "request_id": "01a203f4-0b6d-7c62-a1c5-2f3d0c9e8b11",
                    "count": 1,
                }], "next": null }),
            ),
            faults: vec![LONG],
        },
    ]
}
