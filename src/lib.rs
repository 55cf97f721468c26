//! natter: a real-time chat server in one binary. This page is the map of the house.
//!
//! **A room is a log; a connection is a cursor.** Everything hard in chat (order, no loss, no duplicates, reconnects, slow
//! readers) follows from keeping these two sentences true.
//!
//! # The rooms of the house
//!
//! Imports point down this list only:
//!
//! | module | what it is for |
//! |---|---|
//! | `main`, `cli` (the program) | the command line: serve, demo, check-config, admin, backup, restore, export, import, verify, health |
//! | [`server`] | listening, accepting, connections, the drain |
//! | [`control`] | what an operator does, through a running server's control socket or without one |
//! | [`transfer`] | moving everything: `export`, `import`, `verify`, and adopting the original server's database |
//! | [`http`] | from bytes to a granted request and back: `routes` is the one table, `pipeline` runs a request through it |
//! | [`api`] | what each route does, one file per resource; `api::docs` tells programs about them all, `api::ui` serves `src/ui`, the web client |
//! | [`app`] | the parts, put together once and shared by all of the above |
//! | [`ws`] | the engine of the sockets: the upgrade, frames, cursors, pings |
//! | [`chat`] | the domain: rooms, users, logins, presence. Knows neither HTTP nor sockets |
//! | [`audit`] | what is written down of sign-ins and of what admins do |
//! | [`auth`] | passwords and tokens: mechanisms that know no users |
//! | [`store`] | where everything that must survive lives: a contract, with SQLite and MongoDB |
//! | [`bus`] | how nodes tell each other that something changed: a contract, with one node alone and NATS |
//! | [`event`] | one event of a room's log, and the fold: what events change |
//! | [`protocol`] | what goes over the wire, encoded once |
//! | [`limits`] | what anybody may cost: rates, shares, and which addresses are one client |
//! | `bounded`, `json_depth`, `seldom` | a map that forgets rather than grows; how deep a text nests; log lines that anybody can cause |
//! | [`metrics`], [`logging`] | what an operator sees |
//! | [`config`] | every setting, its default, and where its value came from |
//! | [`names`] | what a name may hold, and which names are alike |
//! | [`words`] | what is looked for in texts: words, queries, and where they stand |
//! | [`types`] | the words everyone shares: ids, roles, times |
//!
//! # The way of a message
//!
//! `POST /chat/{id}` → route table → limits → authenticate → authorize → `api::messages` → `chat` → the room's pending
//! posts → whoever brings the first one takes them all as a batch and gives them their seqs → `store.append_then` → one task takes
//! everything that shared a commit ([`turn`]): each room's ring gets the frames, encoded once → the next batch, which has gathered
//! meanwhile, goes to the store → subscribers are handed the frames → acknowledgements. That is the whole of group commit, and
//! there is no timer in it. A socket's `post` frame joins at `chat`, read where it stands (`ws::reader`).
//!
//! # A new type of event
//!
//! An event is one record everywhere ([`event`]). A new type begins as a variant of [`event::Kind`] and of [`event::Saying`], and
//! the compiler leads to the rest: its JSON (`protocol::EventBody`), what it changes (`event::fold`, and from there to those who
//! apply a `Stretch`: rooms, SQLite, MongoDB, the audit), its form in SQLite and MongoDB (`codec.rs`, `codec_log.rs`), and, where
//! people ask for it, `chat::work`, `chat::rules` and a route or a frame. The bus and exports carry it as it is.
//!
//! # The way of a connection
//!
//! `GET /ws` → the same pipeline as any request → 101 → the upgraded connection is taken back to its bare socket, and
//! nothing of the request or of the HTTP library stays → the connection rests in a poller of the engine ([`ws`]), which reads
//! frames and follows its cursors: from the ring while it keeps up, from the store when it has fallen behind.
//!
//! # Many machines
//!
//! Nodes share a MongoDB and hear of each other over the bus. Whoever appends makes its events durable first and then sends
//! them along with a hint; a node that hears of a gap, or nothing, reads the store ([`chat`], [`bus`], [`store::shared`]).
//!
//! # The way down
//!
//! SIGTERM → no new connections → requests in flight finish, sockets are told and closed → posts are stored → the store is
//! closed → exit 0 ([`server`]).

pub mod api;
pub mod app;
pub mod audit;
pub mod auth;
pub(crate) mod bounded;
pub mod bus;
pub mod chat;
pub mod config;
pub mod control;
pub mod event;
pub mod http;
pub(crate) mod json_depth;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod names;
pub mod protocol;
pub(crate) mod seldom;
pub mod server;
pub mod store;
pub mod transfer;
pub(crate) mod turn;
pub mod types;
pub mod words;
pub mod ws;
