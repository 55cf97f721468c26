//! Every route: method, path, who may, handler. What a path allows, OPTIONS, HEAD and redirects are read from here.
//!
//! Who may and the handler are one value, so a handler is given exactly what was granted and cannot forget to ask.

use std::{
    borrow::Cow,
    future::{Future, Ready, ready},
    pin::Pin,
    sync::{Arc, LazyLock},
};

use futures_util::future::Either;
use hyper::{Method, Uri, header::HeaderValue};
use percent_encoding::percent_decode_str;

use super::{
    authenticate::Via,
    authorize::{
        Need::{self, Moderate, Post, Read},
        Outsider::{self, NotTold, Told},
        RoomGrant,
    },
    request::Request,
    respond::{Rejection, Response},
};
use crate::{
    api::{
        accounts, audit, blocks, changes, chats,
        docs::{self, Document, asyncapi, faults::Access, openapi, page},
        logins, members, messages, search, service, ui, users,
    },
    app::App,
    chat::Caller,
    types::Role::{self, Admin},
    ws::upgrade,
};
use Handler::{Anyone, Holder, Member, Probe, SignedIn};

type Answered = Result<Response, Rejection>;
/// At once, or by work that may wait.
type Answer<'a> = Either<Ready<Answered>, Pin<Box<dyn Future<Output = Answered> + Send + 'a>>>;
type ForAnyone = for<'a> fn(&'a Arc<App>, Request) -> Answer<'a>;
type ForCaller = for<'a> fn(&'a Arc<App>, Caller, Request) -> Answer<'a>;
type ForMember = for<'a> fn(&'a Arc<App>, RoomGrant, Request) -> Answer<'a>;

/// Who may, and what they get.
pub enum Handler {
    /// Monitors: open, without rates, and answered also while the server drains.
    Probe(ForAnyone),
    Anyone(ForAnyone),
    SignedIn(Via, ForCaller),
    /// Somebody who has this role of the server.
    Holder(Role, ForCaller),
    /// A member of the room that `{chat_id}` names.
    Member(Via, Need, Outsider, ForMember),
}

pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub handler: Handler,
}

const REST: Via = Via::Rest;
const SOCKET: Via = Via::Socket;

pub const ROUTES: &[Route] = &[
    route(Method::POST, "/token", Anyone(|a, r| later(accounts::sign_in(a, r)))),
    route(Method::POST, "/token/refresh", Anyone(|a, r| later(accounts::refresh(a, r)))),
    route(Method::POST, "/token/revoke", Anyone(|a, r| later(accounts::revoke(a, r)))),
    route(Method::POST, "/users/register", Anyone(|a, r| later(accounts::register(a, r)))),
    route(Method::GET, "/users/me", SignedIn(REST, |_, c, _| now(accounts::me(&c)))),
    route(Method::PATCH, "/users/me", SignedIn(REST, |a, c, r| later(accounts::change_me(a, c, r)))),
    route(Method::GET, "/users/me/blocks", SignedIn(REST, |a, c, r| later(blocks::list(a, c, r)))),
    route(Method::POST, "/users/me/blocks", SignedIn(REST, |a, c, r| later(blocks::block(a, c, r)))),
    route(Method::DELETE, "/users/me/blocks/{username}", SignedIn(REST, |a, c, r| later(blocks::unblock(a, c, r)))),
    route(Method::GET, "/users/me/logins", SignedIn(REST, |a, c, r| later(logins::list(a, c, r)))),
    route(Method::DELETE, "/users/me/logins", SignedIn(REST, |a, c, r| later(logins::end_others(a, c, r)))),
    route(Method::DELETE, "/users/me/logins/{sid}", SignedIn(REST, |a, c, r| later(logins::end(a, c, r)))),
    route(Method::GET, "/users/users", SignedIn(REST, |a, c, r| later(users::names(a, c, r)))),
    route(Method::GET, "/users/", Holder(Admin, |a, c, r| later(users::list(a, c, r)))),
    route(Method::POST, "/users/create", Holder(Admin, |a, c, r| later(users::create(a, c, r)))),
    route(Method::POST, "/users/add-role", Holder(Admin, |a, c, r| later(users::add_role(a, c, r)))),
    route(Method::POST, "/users/remove-role", Holder(Admin, |a, c, r| later(users::remove_role(a, c, r)))),
    route(Method::POST, "/users/{username}/disable", Holder(Admin, |a, c, r| later(users::disable(a, c, r)))),
    route(Method::POST, "/users/{username}/enable", Holder(Admin, |a, c, r| later(users::enable(a, c, r)))),
    route(Method::POST, "/users/{username}/logout", Holder(Admin, |a, c, r| later(users::logout(a, c, r)))),
    route(
        Method::POST,
        "/users/{username}/reset-password",
        Holder(Admin, |a, c, r| later(users::reset_password(a, c, r))),
    ),
    route(Method::DELETE, "/users/{username}", Holder(Admin, |a, c, r| later(users::delete(a, c, r)))),
    route(Method::GET, "/audit", Holder(Admin, |a, c, r| later(audit::list(a, c, r)))),
    route(Method::GET, "/search", SignedIn(REST, |a, c, r| later(search::search(a, c, r)))),
    route(Method::POST, "/chat/new", SignedIn(REST, |a, c, r| later(chats::create(a, c, r)))),
    route(Method::GET, "/chat/my-chats", SignedIn(REST, |a, c, r| later(chats::mine(a, c, r)))),
    route(Method::GET, "/chat/{chat_id}", Member(REST, Read, Told, |a, g, r| later(messages::history(a, g, r)))),
    route(Method::POST, "/chat/{chat_id}", Member(REST, Post, Told, |a, g, r| later(messages::post(a, g, r)))),
    route(Method::PATCH, "/chat/{chat_id}", Member(REST, Moderate, NotTold, |a, g, r| later(chats::rename(a, g, r)))),
    route(
        Method::GET,
        "/chat/{chat_id}/events",
        Member(REST, Read, NotTold, |a, g, r| later(messages::events(a, g, r))),
    ),
    route(
        Method::GET,
        "/chat/{chat_id}/messages/{message_id}",
        Member(REST, Read, NotTold, |a, g, r| later(changes::get(a, g, r))),
    ),
    route(
        Method::PATCH,
        "/chat/{chat_id}/messages/{message_id}",
        Member(REST, Post, NotTold, |a, g, r| later(changes::edit(a, g, r))),
    ),
    // Everybody may delete their own; whose else one may is for the room to say.
    route(
        Method::DELETE,
        "/chat/{chat_id}/messages/{message_id}",
        Member(REST, Read, NotTold, |a, g, r| later(changes::delete(a, g, r))),
    ),
    route(
        Method::GET,
        "/chat/{chat_id}/messages/{message_id}/edits",
        Member(REST, Read, NotTold, |a, g, r| later(changes::edits(a, g, r))),
    ),
    route(
        Method::POST,
        "/chat/{chat_id}/read",
        Member(REST, Read, NotTold, |a, g, r| later(messages::mark_read(a, g, r))),
    ),
    route(Method::POST, "/chat/{chat_id}/join", SignedIn(REST, |a, c, r| later(members::join(a, c, r)))),
    route(Method::POST, "/chat/{chat_id}/decline", SignedIn(REST, |a, c, r| later(members::decline(a, c, r)))),
    route(Method::POST, "/chat/{chat_id}/hide", Member(REST, Read, NotTold, |a, g, r| later(chats::hide(a, g, r)))),
    route(Method::GET, "/chat/{chat_id}/members", Member(REST, Read, NotTold, |a, g, r| later(members::list(a, g, r)))),
    route(
        Method::POST,
        "/chat/{chat_id}/members",
        Member(REST, Moderate, NotTold, |a, g, r| later(members::invite(a, g, r))),
    ),
    route(
        Method::PATCH,
        "/chat/{chat_id}/members/{username}",
        Member(REST, Moderate, NotTold, |a, g, r| later(members::set_role(a, g, r))),
    ),
    // Everybody may leave; whom one may remove depends on both roles, which the room compares.
    route(
        Method::DELETE,
        "/chat/{chat_id}/members/{username}",
        Member(REST, Read, NotTold, |a, g, r| later(members::remove(a, g, r))),
    ),
    route(Method::GET, "/ws", SignedIn(SOCKET, |a, c, r| later(async { upgrade::all_rooms(&a.sockets, c, r) }))),
    route(
        Method::GET,
        "/ws/chat/{chat_id}",
        Member(SOCKET, Read, NotTold, |a, g, r| later(upgrade::one_room(&a.sockets, g.caller, g.room, r))),
    ),
    route(Method::GET, "/healthz", Probe(|a, r| later(service::healthz(a, r)))),
    route(Method::GET, "/readyz", Probe(|a, r| later(service::readyz(a, r)))),
    route(Method::GET, "/metrics", Probe(|a, r| later(service::metrics(a, r)))),
    route(Method::GET, "/", Anyone(|a, r| later(ui::page(a, r)))),
    route(Method::GET, "/natter.js", Anyone(|a, r| later(ui::module(a, r)))),
    route(Method::GET, "/assets/{hash}/{file}", Anyone(|a, r| later(ui::asset(a, r)))),
    route(Method::GET, "/favicon.ico", Anyone(|a, r| later(ui::icon(a, r)))),
    route(Method::GET, "/openapi.json", Anyone(|a, r| later(docs::serve(a, &OPENAPI, r)))),
    route(Method::GET, "/asyncapi.json", Anyone(|a, r| later(docs::serve(a, &ASYNCAPI, r)))),
    route(Method::GET, "/docs", Anyone(|a, r| later(page::page(a, r)))),
    route(Method::GET, "/docs/{file}", Anyone(|a, r| later(page::file(a, r)))),
    route(Method::GET, "/redoc", Anyone(|a, r| later(page::redoc(a, r)))),
];

fn now<'a>(answer: Response) -> Answer<'a> {
    Either::Left(ready(Ok(answer)))
}

fn later<'a>(work: impl Future<Output = Answered> + Send + 'a) -> Answer<'a> {
    Either::Right(Box::pin(work))
}

const fn route(method: Method, path: &'static str, handler: Handler) -> Route {
    Route { method, path, handler }
}

/// What is told about this table, and about the sockets that it opens.
pub static OPENAPI: Document = LazyLock::new(|| docs::document(&openapi::document(rows(), &openapi::told())));
pub static ASYNCAPI: Document = LazyLock::new(|| docs::document(&asyncapi::document()));

/// Method, path and who may, of every route.
pub fn listing() -> impl Iterator<Item = (&'static Method, &'static str, &'static str)> {
    rows().map(|row| (row.method, row.path, row.access.who()))
}

fn rows() -> impl Iterator<Item = openapi::Row> {
    TABLE.paths.iter().flat_map(|path| &path.routes).map(|route| openapi::Row {
        method: &route.method,
        path: route.path,
        access: route.handler.access(),
    })
}

impl Handler {
    fn access(&self) -> Access {
        match *self {
            Handler::Probe(_) => Access::Probe,
            Handler::Anyone(_) => Access::Anyone,
            Handler::SignedIn(via, _) => Access::SignedIn(via),
            Handler::Holder(role, _) => Access::Holder(role),
            Handler::Member(via, need, outsider, _) => Access::Member(via, need, outsider),
        }
    }
}

impl PathEntry {
    /// Whether monitors ask here if all is well, by whatever name they know this server.
    pub fn is_probe(&self) -> bool {
        ["/healthz", "/readyz"].contains(&self.path)
    }
}

/// All routes of one path.
pub struct PathEntry {
    pub path: &'static str,
    routes: Vec<&'static Route>,
    /// For `Allow`: with HEAD wherever GET is, and OPTIONS.
    pub allow: HeaderValue,
}

struct Table {
    paths: Vec<PathEntry>,
    /// Into `paths`.
    router: matchit::Router<usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    static ALL: &[Route] = ROUTES;
    let mut paths: Vec<PathEntry> = Vec::new();
    let mut router = matchit::Router::new();
    for route in ALL {
        match paths.iter_mut().find(|entry| entry.path == route.path) {
            Some(entry) => entry.routes.push(route),
            None => {
                router.insert(route.path, paths.len()).expect("the table's paths are well-formed and differ");
                paths.push(PathEntry {
                    path: route.path,
                    routes: vec![route],
                    allow: HeaderValue::from_static("OPTIONS"),
                });
            }
        }
    }
    for entry in &mut paths {
        let mut methods: Vec<&str> = entry.routes.iter().map(|route| route.method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.sort_unstable();
        entry.allow = methods.join(", ").parse().expect("method names are header text");
    }
    Table { paths, router }
});

pub type Params = Vec<(String, String)>;

/// What the table has for a path.
pub enum Found {
    Path(&'static PathEntry, Params),
    /// The same path with or without its trailing slash is in the table; query kept.
    Redirect(HeaderValue),
    Nothing,
}

pub fn find(uri: &Uri) -> Found {
    let path = uri.path();
    if let Ok(matched) = TABLE.router.at(path) {
        let decode = |value| percent_decode_str(value).decode_utf8_lossy().into_owned();
        let params = matched.params.iter().map(|(name, value)| (name.to_owned(), decode(value))).collect();
        return Found::Path(&TABLE.paths[*matched.value], params);
    }
    let other: Cow<'_, str> = match path.strip_suffix('/') {
        Some(shorter) => shorter.into(),
        None => format!("{path}/").into(),
    };
    if TABLE.router.at(&other).is_err() {
        return Found::Nothing;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // What a URI holds is header text; the table's paths begin with one slash, so this stays on this host.
    HeaderValue::try_from(format!("{other}{query}")).map_or(Found::Nothing, Found::Redirect)
}

impl PathEntry {
    /// The route of a method; HEAD is served by GET.
    pub fn route(&self, method: &Method) -> Option<&'static Route> {
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        self.routes.iter().find(|route| route.method == *wanted).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(uri: &str) -> String {
        match find(&uri.parse().unwrap()) {
            Found::Path(entry, params) => {
                params.iter().fold(entry.path.to_owned(), |text, (_, value)| format!("{text} {value}"))
            }
            Found::Redirect(location) => format!("→ {}", location.to_str().unwrap()),
            Found::Nothing => "nothing".into(),
        }
    }

    #[test]
    fn paths_are_found() {
        for (uri, expected) in [
            ("/users/me", "/users/me"),
            ("/users/", "/users/"),
            ("/users?q=a&limit=2", "→ /users/?q=a&limit=2"),
            ("/users/users", "/users/users"),
            ("/users/users/", "→ /users/users"),
            ("/users/users/disable", "/users/{username}/disable users"),
            ("/users/me/logout", "/users/{username}/logout me"),
            ("/users/add-role/enable", "/users/{username}/enable add-role"),
            ("/users/a%2Fb%20%C3%A9/disable", "/users/{username}/disable a/b é"),
            ("/users//disable", "nothing"),
            ("/users/ann", "/users/{username} ann"),
            ("/users/ann/", "→ /users/ann"),
            ("/chat/new", "/chat/new"),
            ("/chat/newer", "/chat/{chat_id} newer"),
            ("/chat/new/events", "/chat/{chat_id}/events new"),
            ("/chat/x/", "→ /chat/x"),
            ("/chat/x/members/%E2%98%83", "/chat/{chat_id}/members/{username} x ☃"),
            ("/ws/", "→ /ws"),
            ("/ws/chat/x", "/ws/chat/{chat_id} x"),
            ("/", "/"),
            ("/?token=x", "/"),
            ("//", "→ /"),
            ("/natter.js", "/natter.js"),
            ("/assets/0123/app.js", "/assets/{hash}/{file} 0123 app.js"),
            ("/assets/0123/a%2F..%2Fb", "/assets/{hash}/{file} 0123 a/../b"),
            ("/assets/0123/", "nothing"),
            ("/assets/0123/a/b", "nothing"),
            ("//users/me", "nothing"),
            ("//evil.example/users/", "nothing"),
            ("/token//", "nothing"),
            ("/Token", "nothing"),
        ] {
            assert_eq!(found(uri), expected, "{uri}");
        }
    }

    #[test]
    fn a_path_tells_its_methods() {
        let allow = |uri: &str| match find(&uri.parse().unwrap()) {
            Found::Path(entry, _) => entry.allow.to_str().unwrap().to_owned(),
            _ => panic!("{uri} is in the table"),
        };
        assert_eq!(allow("/users/me"), "GET, HEAD, OPTIONS, PATCH");
        assert_eq!(allow("/token"), "OPTIONS, POST");
        assert_eq!(allow("/chat/x"), "GET, HEAD, OPTIONS, PATCH, POST");
        assert_eq!(allow("/chat/new"), "OPTIONS, POST");
    }

    #[test]
    fn the_listing_holds_every_route_once() {
        let mut all: Vec<_> = listing().map(|(method, path, _)| (method.as_str(), path)).collect();
        assert_eq!(all.len(), ROUTES.len());
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), ROUTES.len());
    }
}
