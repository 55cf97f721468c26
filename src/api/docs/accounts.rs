//! What is told about one's own account.

use serde_json::{Value, json};

use super::{
    faults::STORE,
    schemas::Schemas,
    told::{Body, Fault, TIME, Told, done, fault, json_body, ok},
};
use crate::api::{
    accounts::{ChangeMe, Profile, RefreshToken, Registration, SignIn, TokenAnswer},
    logins::Logins,
};

const TAG: &str = "Accounts";
const NOT_THIS_LOGIN: Fault = fault(401, "invalid_token", "Invalid token");
const QUEUE: Fault = fault(429, "busy", "The server is busy (auth.password_queue); try again in a moment.");
const ATTEMPTS: Fault =
    fault(429, "too_many_attempts", "Too many sign-ins (limits.failed_logins_per_account): wait 60 s and try again.");

fn tokens() -> Value {
    json!({
        "access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4ifQ.6hX0aQk7m1Zr0o4uJd1J1jv8yBq0W2Xf3n9T4k5L6p8",
        "token_type": "bearer",
        "expires_in": 1800,
        "refresh_token": "nrt_AaIknKgYcHm39R1FWdQ9L9s2u7Rk3mX4JzG0c2l1bWUAAAAAAAAAAFQ2eJ0bF3Y9x4kq0u1aVtcN8m3pZrWk5w",
    })
}

fn profile() -> Value {
    json!({
        "_id": "01a203f3-ed9b-7a44-9d2a-6b1f0f3f1c55",
        "user_id": "01a203f3-ed9b-7a44-9d2a-6b1f0f3f1c55",
        "username": "ann",
        "display_name": "Ann Lee",
        "roles": [{ "role_id": "2", "role_name": "basic_user" }],
        "created_at": TIME,
    })
}

pub fn told() -> Vec<Told> {
    vec![
        Told {
            method: "POST",
            path: "/token",
            id: "sign_in",
            summary: "Sign in",
            about: "Begins a login. The form may be urlencoded or multipart.",
            tag: TAG,
            parameters: vec![],
            body: Some(Body {
                kinds: &["application/x-www-form-urlencoded", "multipart/form-data"],
                shape: Schemas::add::<SignIn>,
                examples: vec![(
                    "ann",
                    json!({ "grant_type": "password", "username": "ann", "password": "correct horse battery" }),
                )],
            }),
            answers: ok("The login's tokens.", Schemas::add::<TokenAnswer>, tokens()),
            faults: [STORE, &[fault(401, "wrong_credentials", "Incorrect username or password"), ATTEMPTS, QUEUE]]
                .concat(),
        },
        Told {
            method: "POST",
            path: "/token/refresh",
            id: "refresh",
            summary: "Get the next tokens",
            about: "Goes on with a login. The refresh token is used up, and the answer has the next one. The one used last is \
                    answered again for `auth.refresh_grace_secs` (30, unless the operator chose another number), as its \
                    answer may have been lost: the new answer takes the place of the lost one. Any older one that comes again \
                    ends the login, as it is in two hands.",
            tag: TAG,
            parameters: vec![],
            body: json_body(
                Schemas::add::<RefreshToken>,
                vec![("login", json!({ "refresh_token": tokens()["refresh_token"] }))],
            ),
            answers: ok("The login's next tokens.", Schemas::add::<TokenAnswer>, tokens()),
            faults: [STORE, &[NOT_THIS_LOGIN]].concat(),
        },
        Told {
            method: "POST",
            path: "/token/revoke",
            id: "sign_out",
            summary: "Sign out",
            about: "Ends a login: its tokens are worth nothing from now on, and its sockets are closed with 4401.",
            tag: TAG,
            parameters: vec![],
            body: json_body(
                Schemas::add::<RefreshToken>,
                vec![("login", json!({ "refresh_token": tokens()["refresh_token"] }))],
            ),
            answers: done("Logged out successfully"),
            faults: [STORE, &[NOT_THIS_LOGIN]].concat(),
        },
        Told {
            method: "POST",
            path: "/users/register",
            id: "sign_up",
            summary: "Sign up",
            about: "Makes an account, with the role `basic_user`.",
            tag: TAG,
            parameters: vec![],
            body: json_body(
                Schemas::add::<Registration>,
                vec![("new", json!({ "username": "dan", "password": "battery staple" }))],
            ),
            answers: done("User created successfully"),
            faults: [
                STORE,
                &[
                    fault(400, "user_exists", "User already exists"),
                    fault(403, "signup_closed", "Sign-up is closed here: ask the operator for an account."),
                    QUEUE,
                ],
            ]
            .concat(),
        },
        Told {
            method: "GET",
            path: "/users/me",
            id: "me",
            summary: "See one's own account",
            about: "The account of the token.",
            tag: TAG,
            parameters: vec![],
            body: None,
            answers: ok("The account.", Schemas::add::<Profile>, profile()),
            faults: vec![],
        },
        Told {
            method: "PATCH",
            path: "/users/me",
            id: "change_me",
            summary: "Change one's own account",
            about: "Everything is checked before anything is changed.",
            tag: TAG,
            parameters: vec![],
            body: json_body(
                Schemas::add::<ChangeMe>,
                vec![
                    ("name", json!({ "display_name": "Ann Lee" })),
                    (
                        "password",
                        json!({ "password": { "current": "correct horse battery", "new": "battery staple" } }),
                    ),
                ],
            ),
            answers: ok("The account as it is now.", Schemas::add::<Profile>, profile()),
            faults: vec![fault(403, "wrong_password", "The current password is not right."), ATTEMPTS, QUEUE],
        },
        Told {
            method: "GET",
            path: "/users/me/logins",
            id: "my_logins",
            summary: "See where one is signed in",
            about: "One's logins that go on, the one that was seen last first.",
            tag: TAG,
            parameters: vec![],
            body: None,
            answers: ok(
                "The logins.",
                Schemas::add::<Logins>,
                json!({ "logins": [{
                    "sid": "01a203f3-ed9b-7a44-9d2a-6b1f0f3f1c57",
                    "created_at": TIME,
                    "seen_at": TIME,
                    "address": "192.0.2.7",
                    "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                    "current": true,
                }] }),
            ),
            faults: vec![],
        },
        Told {
            method: "DELETE",
            path: "/users/me/logins/{sid}",
            id: "end_login",
            summary: "End one of one's logins",
            about: "Its tokens are worth nothing from now on, and its sockets are closed with 4401. It may be the one that asks.",
            tag: TAG,
            parameters: vec![],
            body: None,
            answers: done("Login ended"),
            faults: vec![fault(404, "login_not_found", "You have no such login.")],
        },
        Told {
            method: "DELETE",
            path: "/users/me/logins",
            id: "end_other_logins",
            summary: "End all of one's other logins",
            about: "The one that asks goes on, with its tokens and sockets.",
            tag: TAG,
            parameters: vec![],
            body: None,
            answers: done("All other logins ended"),
            faults: vec![],
        },
    ]
}
