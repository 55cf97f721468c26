//! Every request that changes something: how it is asked for, how one sees that it is done, and who is told.

use serde_json::{Value, json};

use crate::harness::{PASSWORD, Person, Server, Socket, until};

/// What can be asked for that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    SignIn,
    Refresh,
    Revoke,
    Register,
    Account,
    AddRole,
    RemoveRole,
    Disable,
    Enable,
    LogOut,
    NewPrivate,
    NewGroup,
    Post,
    Edit,
    Erase,
    Read,
    Invite,
    SetRole,
    Remove,
    Rename,
    Join,
    Decline,
    Hide,
    Block,
    Unblock,
    EndLogin,
    EndOthers,
    Create,
    Reset,
    Delete,
}

pub const ALL: [Change; 30] = [
    Change::SignIn,
    Change::Refresh,
    Change::Revoke,
    Change::Register,
    Change::Account,
    Change::AddRole,
    Change::RemoveRole,
    Change::Disable,
    Change::Enable,
    Change::LogOut,
    Change::NewPrivate,
    Change::NewGroup,
    Change::Post,
    Change::Edit,
    Change::Erase,
    Change::Read,
    Change::Invite,
    Change::SetRole,
    Change::Remove,
    Change::Rename,
    Change::Join,
    Change::Decline,
    Change::Hide,
    Change::Block,
    Change::Unblock,
    Change::EndLogin,
    Change::EndOthers,
    Change::Create,
    Change::Reset,
    Change::Delete,
];

/// Ann owns the group `room` with bob in it, and has the private room `pair` with him, where both have said something, and she
/// what he has not read (`head`). Bob has two logins; `sid` is the one that is not his phone's.
pub struct Scene {
    pub server: Server,
    pub root: Person,
    pub ann: Person,
    pub bob: Person,
    pub bobs_phone: Person,
    pub carol: Person,
    pub room: String,
    pub pair: String,
    pub head: u64,
    /// Ann's message in `pair`.
    message: String,
    sid: String,
    /// Of those who are to be told.
    sockets: Vec<Socket>,
}

/// A request, as bytes.
pub struct Request {
    method: &'static str,
    path: String,
    token: Option<String>,
    content_type: &'static str,
    body: String,
}

impl Request {
    pub fn post(asker: Option<&Person>, path: &str, body: &Value) -> Self {
        Self {
            method: "POST",
            path: path.to_owned(),
            token: asker.map(|asker| asker.token.clone()),
            content_type: "application/json",
            body: body.to_string(),
        }
    }

    pub fn head(&self) -> String {
        let Self { method, path, token, content_type, body } = self;
        let authorization = token.as_ref().map(|token| format!("authorization: Bearer {token}\r\n"));
        let content = format!("content-type: {content_type}\r\ncontent-length: {}\r\n", body.len());
        format!("{method} {path} HTTP/1.1\r\nhost: natter\r\n{}{content}\r\n", authorization.unwrap_or_default())
    }

    pub fn body(&self) -> &str {
        &self.body
    }

    pub fn bytes(&self) -> Vec<u8> {
        (self.head() + &self.body).into_bytes()
    }
}

impl Scene {
    /// Everybody who must hear of the change listens.
    pub async fn set(change: Change) -> Self {
        // Nobody looks anything up again who is not told to, signing in a third time ends the first login, and so does using
        // its refresh token a second time.
        let settings = [("auth.cache_secs", "600"), ("auth.sessions_per_user", "2"), ("auth.refresh_grace_secs", "0")];
        let server = Server::with(&settings).await;
        let (ann, bob) = server.two_people().await;
        let (carol, root, bobs_phone) =
            (server.person("carol").await, server.admin().await, server.sign_in("bob").await);
        let room = ann.group("tea", [&bob]).await;
        let pair = ann.private(&bob).await;
        bob.post(&pair, "I am here").await;
        let said = ann.post(&pair, "read me").await;
        let (head, message) = (said.seq, said.message_id);
        let logins = bobs_phone.get("/users/me/logins").await.ok();
        let mut logins = logins["logins"].as_array().expect("logins").iter();
        let other = logins.find(|login| login["current"] == false).expect("the other login");
        let sid = other["sid"].as_str().expect("its id").to_owned();
        let sockets = Vec::new();
        let mut scene = Self { server, root, ann, bob, bobs_phone, carol, room, pair, head, message, sid, sockets };
        if matches!(change, Change::Join | Change::Decline) {
            // Who left is asked before they are in again.
            scene.ann.invite(&scene.carol, &scene.room).await.ok();
            scene.carol.leave(&scene.room).await.ok();
            scene.ann.invite(&scene.carol, &scene.room).await.ok();
        }
        if change == Change::Unblock {
            scene.carol.post_json("/users/me/blocks", &json!({"username": "bob"})).await.ok();
        }
        if change == Change::RemoveRole {
            scene.root.post_json("/users/add-role", &json!({"username": "bob", "role_name": "admin"})).await.ok();
        }
        if change == Change::Enable {
            scene.root.post_empty("/users/bob/disable").await.ok();
        } else {
            // What is known of bob is remembered from here on.
            scene.bob.me().await;
        }
        scene.sockets = change.listeners(&scene).await;
        scene
    }
}

impl Change {
    pub fn route(self) -> (&'static str, &'static str) {
        match self {
            Change::SignIn => ("POST", "/token"),
            Change::Refresh => ("POST", "/token/refresh"),
            Change::Revoke => ("POST", "/token/revoke"),
            Change::Register => ("POST", "/users/register"),
            Change::Account => ("PATCH", "/users/me"),
            Change::AddRole => ("POST", "/users/add-role"),
            Change::RemoveRole => ("POST", "/users/remove-role"),
            Change::Disable => ("POST", "/users/{username}/disable"),
            Change::Enable => ("POST", "/users/{username}/enable"),
            Change::LogOut => ("POST", "/users/{username}/logout"),
            Change::NewPrivate | Change::NewGroup => ("POST", "/chat/new"),
            Change::Post => ("POST", "/chat/{chat_id}"),
            Change::Edit => ("PATCH", "/chat/{chat_id}/messages/{message_id}"),
            Change::Erase => ("DELETE", "/chat/{chat_id}/messages/{message_id}"),
            Change::Read => ("POST", "/chat/{chat_id}/read"),
            Change::Invite => ("POST", "/chat/{chat_id}/members"),
            Change::SetRole => ("PATCH", "/chat/{chat_id}/members/{username}"),
            Change::Remove => ("DELETE", "/chat/{chat_id}/members/{username}"),
            Change::Rename => ("PATCH", "/chat/{chat_id}"),
            Change::Join => ("POST", "/chat/{chat_id}/join"),
            Change::Decline => ("POST", "/chat/{chat_id}/decline"),
            Change::Hide => ("POST", "/chat/{chat_id}/hide"),
            Change::Block => ("POST", "/users/me/blocks"),
            Change::Unblock => ("DELETE", "/users/me/blocks/{username}"),
            Change::EndLogin => ("DELETE", "/users/me/logins/{sid}"),
            Change::EndOthers => ("DELETE", "/users/me/logins"),
            Change::Create => ("POST", "/users/create"),
            Change::Reset => ("POST", "/users/{username}/reset-password"),
            Change::Delete => ("DELETE", "/users/{username}"),
        }
    }

    pub fn request(self, scene: &Scene) -> Request {
        let role = json!({"username": "bob", "role_name": "admin"});
        let (asker, body) = match self {
            Change::SignIn | Change::Disable | Change::Enable | Change::LogOut | Change::Remove => (None, Value::Null),
            Change::Refresh | Change::Revoke => (None, json!({"refresh_token": scene.bob.refresh_token})),
            Change::Register => (None, json!({"username": "dave", "password": PASSWORD})),
            Change::Account => (Some(&scene.bob), json!({"display_name": "Robert"})),
            Change::AddRole | Change::RemoveRole => (Some(&scene.root), role),
            Change::NewPrivate => (Some(&scene.ann), json!({"username": "carol"})),
            Change::NewGroup => (Some(&scene.ann), json!({"name": "cut", "usernames": ["bob"]})),
            Change::Post => (Some(&scene.ann), json!({"message": "cut", "client_id": "c"})),
            Change::Edit => (Some(&scene.ann), json!({"message": "cut", "client_id": "c"})),
            Change::Erase => (Some(&scene.ann), Value::Null),
            Change::Read => (Some(&scene.bob), json!({"seq": scene.head})),
            Change::Invite => (Some(&scene.ann), json!({"username": "carol"})),
            Change::SetRole => (Some(&scene.ann), json!({"role": "moderator"})),
            Change::Rename => (Some(&scene.ann), json!({"name": "cut"})),
            Change::Join | Change::Decline | Change::Unblock => (Some(&scene.carol), Value::Null),
            Change::Hide => (Some(&scene.bob), Value::Null),
            Change::Block => (Some(&scene.carol), json!({"username": "bob"})),
            Change::EndLogin | Change::EndOthers => (Some(&scene.bobs_phone), Value::Null),
            Change::Create => (Some(&scene.root), json!({"username": "dave", "password": PASSWORD})),
            Change::Reset => (Some(&scene.root), json!({"password": "another horse battery"})),
            Change::Delete => (Some(&scene.root), json!({"messages": "keep"})),
        };
        let asker = match self {
            Change::Disable | Change::Enable | Change::LogOut => Some(&scene.root),
            Change::Remove => Some(&scene.ann),
            _ => asker,
        };
        let (method, path) = self.route();
        let in_pair = matches!(self, Change::Read | Change::Hide | Change::Edit | Change::Erase);
        let room = if in_pair { &scene.pair } else { &scene.room };
        let (content_type, body) = match self {
            Change::SignIn => {
                ("application/x-www-form-urlencoded", format!("username=bob&password={}", form(PASSWORD)))
            }
            _ if body.is_null() => ("application/json", String::new()),
            _ => ("application/json", body.to_string()),
        };
        Request {
            method,
            path: path
                .replace("{chat_id}", room)
                .replace("{message_id}", &scene.message)
                .replace("{username}", "bob")
                .replace("{sid}", &scene.sid),
            token: asker.map(|asker| asker.token.clone()),
            content_type,
            body,
        }
    }

    /// As the store has it, which everybody sees who asks.
    pub async fn is_done(self, scene: &Scene) -> bool {
        let Scene { root, ann, bob, bobs_phone, carol, room, pair, head, .. } = scene;
        let user = async || root.get("/users/?q=bob").await.ok()["users"][0].clone();
        match self {
            // The oldest login is over, or a used refresh token was used again.
            Change::SignIn
            | Change::Refresh
            | Change::Revoke
            | Change::EndLogin
            | Change::EndOthers
            | Change::Reset => bob.get("/users/me").await.status == 401,
            Change::Register | Change::Create => ann.get("/users/users?q=dave").await.ok()[0]["username"] == "dave",
            Change::Account => user().await["display_name"] == "Robert",
            Change::AddRole => user().await["roles"].to_string().contains("admin"),
            Change::RemoveRole => !user().await["roles"].to_string().contains("admin"),
            Change::Disable => user().await["disabled"] == true,
            Change::Delete => ann.history(pair, "").await["messages"][0]["sender"] == "deleted user",
            Change::Enable => user().await["disabled"] == false,
            Change::LogOut => bobs_phone.get("/users/me").await.status == 401,
            Change::NewPrivate => !chats_but(ann, &[room, pair], "private").await.is_empty(),
            Change::NewGroup => !chats_but(ann, &[room, pair], "group").await.is_empty(),
            Change::Post => ann.history(room, "").await["messages"][0]["content"] == "cut",
            Change::Edit => ann.history(pair, "?limit=1").await["messages"][0]["content"] == "cut",
            Change::Erase => !ann.history(pair, "").await.to_string().contains("read me"),
            Change::Read => bob.chat(pair).await["read_seq"] == *head,
            Change::Invite => carol.get(&format!("/chat/{room}/members")).await.status == 200,
            Change::SetRole => bob.chat(room).await["role"] == "moderator",
            Change::Remove => bob.get(&format!("/chat/{room}/members")).await.status != 200,
            Change::Rename => bob.chat(room).await["name"] == "cut",
            Change::Join => carol.get(&format!("/chat/{room}/members")).await.status == 200,
            Change::Decline => chats_but(carol, &[], "group").await.is_empty(),
            Change::Hide => chats_but(bob, &[], "private").await.is_empty(),
            Change::Block | Change::Unblock => {
                let blocks = carol.get("/users/me/blocks").await.ok();
                blocks["users"].as_array().expect("users").is_empty() == (self == Change::Unblock)
            }
        }
    }

    async fn listeners(self, scene: &Scene) -> Vec<Socket> {
        let Scene { ann, bob, bobs_phone, carol, room, pair, .. } = scene;
        match self {
            Change::Register | Change::Account | Change::AddRole | Change::RemoveRole | Change::Enable => Vec::new(),
            Change::Decline | Change::Hide | Change::Block | Change::Unblock | Change::Create => Vec::new(),
            Change::SignIn | Change::Refresh | Change::Revoke | Change::EndLogin | Change::EndOthers => {
                vec![bob.socket().await]
            }
            Change::Disable | Change::LogOut | Change::Reset | Change::Delete => {
                vec![bob.socket().await, bobs_phone.one_room(room, None).await]
            }
            Change::NewPrivate => vec![ann.socket().await, carol.socket().await],
            Change::NewGroup => vec![ann.socket().await, bob.socket().await],
            Change::Read | Change::Edit | Change::Erase => vec![ann.follow(pair).await, bob.follow(pair).await],
            Change::Post | Change::SetRole | Change::Rename => vec![ann.follow(room).await, bob.follow(room).await],
            Change::Invite | Change::Join => vec![bob.follow(room).await, carol.socket().await],
            Change::Remove => vec![ann.follow(room).await, bob.follow(room).await],
        }
    }

    /// Waits until everybody who must hear of it has heard.
    pub async fn is_told(self, scene: &mut Scene) {
        let mut sockets = std::mem::take(&mut scene.sockets);
        match self {
            Change::Register | Change::Create => drop(scene.server.sign_in("dave").await),
            Change::Decline | Change::Hide | Change::Block | Change::Unblock => {}
            Change::Enable => drop(scene.server.sign_in("bob").await),
            Change::Account => {
                let is_known = async || scene.bob.me().await["display_name"] == "Robert";
                until("bob's own requests to know", is_known).await;
            }
            Change::AddRole | Change::RemoveRole => {
                let wanted = self == Change::AddRole;
                let is_admin = async || scene.bob.me().await["roles"].to_string().contains("admin");
                until("bob's own requests to know", async || is_admin().await == wanted).await;
            }
            Change::SignIn
            | Change::Refresh
            | Change::Revoke
            | Change::Disable
            | Change::LogOut
            | Change::EndLogin
            | Change::EndOthers
            | Change::Reset
            | Change::Delete => {
                for socket in &mut sockets {
                    assert_eq!(socket.closed().await.code, 4401, "{self:?}");
                }
            }
            Change::NewPrivate | Change::NewGroup => {
                let kind = if self == Change::NewGroup { "group" } else { "private" };
                for room in chats_but(&scene.ann, &[&scene.room, &scene.pair], kind).await {
                    for socket in &mut sockets {
                        super::added(socket, &room).await;
                    }
                }
            }
            Change::Read => {
                for socket in &mut sockets {
                    let moved = |frame: &Value| frame["type"] == "read" && frame["username"] == "bob";
                    assert_eq!(socket.find("bob's mark", moved).await["read_seq"], scene.head);
                }
            }
            Change::Post | Change::Edit => hear(&mut sockets, "content", "cut").await,
            Change::Erase => hear(&mut sockets, "type", "delete").await,
            Change::Rename => hear(&mut sockets, "name", "cut").await,
            Change::SetRole => hear(&mut sockets, "change", "role").await,
            Change::Invite | Change::Join => {
                hear(&mut sockets[..1], "change", "added").await;
                super::added(&mut sockets[1], &scene.room).await;
            }
            Change::Remove => {
                hear(&mut sockets[..1], "change", "removed").await;
                let removed = |frame: &Value| frame["type"] == "chats" && frame["change"] == "removed";
                sockets[1].find("chats removed", removed).await;
            }
        }
    }
}

/// The next event of each has this.
async fn hear(sockets: &mut [Socket], field: &str, value: &str) {
    for socket in sockets {
        let event = socket.next_event().await;
        assert_eq!(event[field], value, "{event}");
    }
}

/// The ids of the person's chats of a kind, but for these.
async fn chats_but(person: &Person, known: &[&String], kind: &str) -> Vec<String> {
    let page = person.my_chats("?limit=100").await;
    let chats = page["chats"].as_array().expect("chats").iter();
    let others =
        chats.filter(|chat| chat["kind"] == kind && known.iter().all(|known| chat["chat_id"] != known.as_str()));
    others.map(|chat| chat["chat_id"].as_str().expect("an id").to_owned()).collect()
}

fn form(text: &str) -> String {
    text.replace(' ', "+")
}
