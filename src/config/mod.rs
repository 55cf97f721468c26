//! Every setting, its default and what it means. Nothing in this file knows where a value came from.
//!
//! - `load.rs` puts the sources together: defaults < `config.toml` < `.env` < environment < flags.
//! - `sources.rs` reads each of them, `.env` with `dotenv.rs`; `links.rs` knows what others write into the environment.
//! - `check.rs` says what is wrong with a value, `agree.rs` what is wrong with two together, as sentences.
//! - `defaults.rs` has the values where nobody sets one; `fit.rs` makes those of memory smaller on a small machine.
//! - `hosts.rs` compares names of hosts, `address.rs` reads addresses to listen on.
//! - `show.rs` writes the result down for `natter check-config`, without what `mask.rs` finds secret in URLs.
//!
//! `config.toml` at the top of the repository documents the same keys for operators; a test holds the two together.

pub mod address;
mod agree;
pub mod check;
mod defaults;
mod dotenv;
pub mod fit;
pub mod hosts;
mod links;
pub mod load;
pub mod log_filter;
pub mod mask;
mod secrets;
pub mod show;
pub mod sources;

use std::{collections::BTreeMap, net::SocketAddr};

use figment::value::Value;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub server: Server,
    pub auth: Auth,
    pub store: Store,
    pub bus: Bus,
    pub cluster: Cluster,
    pub rooms: Rooms,
    pub sockets: Sockets,
    pub presence: Presence,
    pub limits: Limits,
    pub log: Log,
    pub audit: Audit,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    #[serde(with = "address")]
    pub bind: SocketAddr,
    /// A file of PEM certificates, the server's own first, and one of its key: then `bind` speaks HTTPS. Empty: it speaks HTTP.
    pub tls_cert: String,
    pub tls_key: String,
    /// `/metrics` moves here when set; written as an empty text where it is not.
    #[serde(with = "address::optional")]
    pub metrics_bind: Option<SocketAddr>,
    /// Names that a request's Host may be. Empty: names of this machine alone where `bind` is a loopback address, and any elsewhere.
    pub hosts: Vec<String>,
    /// `https://chat.example.org`; never `*`.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// From SIGTERM to exit, at most.
    pub drain_secs: u64,
    /// Connections that the kernel may hold before they are accepted.
    pub backlog: u32,
    /// Whether `/metrics` is served, and whether the documentation of the API is.
    pub metrics: Switch,
    pub docs: Switch,
    /// Worker threads; 0 is one per core.
    pub threads: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Signs access tokens. Empty: a key is made at the first start and kept in the data folder.
    pub secret_key: String,
    pub allow_weak_secret: bool,
    pub algorithm: Algorithm,
    pub access_token_minutes: u64,
    /// How far an access token's time of issue may be ahead of the clock of the machine that looks at it.
    pub clock_skew_secs: u64,
    /// A login that is not refreshed for so long is over.
    pub refresh_token_days: u64,
    /// For how long the refresh token used last is answered again, because its answer may have been lost.
    pub refresh_grace_secs: u64,
    pub signup: Signup,
    /// Whether who shares no room with the inviter is in a group at once, or asked first.
    pub invites: Invites,
    /// Whom `GET /users/users` lists to somebody who is no admin.
    pub directory: Directory,
    pub password_min_length: usize,
    pub bcrypt_cost: u32,
    /// Threads that hash passwords; 0 is half of the cores, at least one.
    pub password_threads: usize,
    /// Sign-ins that may wait for one of them; the next is answered 429.
    pub password_queue: usize,
    /// The oldest login of a user ends when there would be more.
    pub sessions_per_user: usize,
    /// So much of what a client says it is (`User-Agent`) is kept with its login.
    pub agent_chars: usize,
    /// Users and logins kept in memory, so that a request needs no look-up.
    pub cached_users: usize,
    /// Access tokens kept in memory as verified, so that a request needs no signature checked; each takes about 150 bytes.
    pub cached_tokens: usize,
    /// How long a cached user or login is believed without asking the store. What is not used for some seconds is let go.
    pub cache_secs: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signup {
    Open,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invites {
    Open,
    Ask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directory {
    /// Everybody.
    Open,
    /// Those who share a room with them.
    Rooms,
    /// Nobody.
    Closed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// `sqlite:<path>`, whose folder is the data folder; or `mongodb://…`, `mongodb+srv://…`.
    pub url: String,
    /// The database's name where the store has named ones.
    pub db_name: String,
    /// SQLite connections that read.
    pub readers: usize,
    /// Reads that may wait for one of them.
    pub read_queue: usize,
    /// Writes that may wait for the next commit.
    pub write_queue: usize,
    /// Writes in one commit.
    pub commit_ops: usize,
    /// Posts that are in the journal and not yet in the tables, in bytes of memory; past it posts wait for so long. SQLite alone.
    pub unsettled_bytes: usize,
    pub unsettled_millis: u64,
    /// Posts are moved into the tables after so long, or sooner where they are many. SQLite alone.
    pub settle_secs: u64,
    /// The database may not grow past this; 0 is no limit but the disk's. SQLite alone.
    pub max_bytes: u64,
    /// Bytes of the disk that only what ends logins, disables accounts or deletes may use; 0 is by the disk's size. SQLite alone.
    pub reserve: u64,
    /// The write-ahead log of the database is to be no longer; past it a warning names who holds it. SQLite alone.
    pub wal_bytes: u64,
    /// MongoDB: insert commands on their way at once, and events in each.
    pub inserts: usize,
    pub insert_events: usize,
    /// MongoDB: rooms whose ends are remembered, so that an append there need not ask for them first.
    pub known_rooms: usize,
    /// MongoDB: when an operation has failed, outcome unknown; for how long what may be repeated is tried again.
    pub answer_millis: u64,
    pub retry_millis: u64,
    /// MongoDB: how long a start waits for it; 0 is for ever.
    pub wait_secs: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    /// Empty: one machine. `nats://[user:password@|token@]host:port`, several with commas; `tls://` for TLS.
    pub url: String,
    /// A NATS credentials file; empty for none.
    pub credentials: String,
    /// A file of certificates that vouch for the NATS servers; empty: the system's.
    pub tls_ca: String,
    /// Hints that may wait to be sent; the next is dropped, and the other nodes look at the store.
    pub queue: usize,
    /// Events of at most so many bytes go along with a hint, so that the other nodes need not read them.
    pub inline_bytes: usize,
}

/// How the natters that share a database keep up with each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// A node says on the bus that it lives so often, and counts as gone when it has been silent for so long.
    pub beat_millis: u64,
    pub silent_millis: u64,
    /// Changed users and memberships are asked of the store so often; grown rooms too while some node is not heard.
    pub poll_millis: u64,
    /// Grown rooms are asked of the store so often in any case.
    pub check_millis: u64,
    /// A node that has not told the store that it lives for so long is gone.
    pub node_secs: u64,
    /// A node that loses the race for a room's next seq twice is let go first; the others wait for it no longer than this.
    pub yield_millis: u64,
    /// Logs read at once that grew while a node was not heard.
    pub catch_ups: usize,
    /// Users online on other nodes that are remembered, and comings and goings of members that have been told.
    pub remote_users: usize,
    pub told_moves: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rooms {
    /// Rooms in memory at once.
    pub live: usize,
    /// A room without readers leaves memory after so long.
    pub idle_secs: u64,
    /// Recent events a room keeps in memory: by count, by bytes, and by bytes in all rooms together.
    pub ring_events: usize,
    pub ring_bytes: usize,
    pub rings_bytes: usize,
    /// Posts that may wait in one room; the next is answered 429.
    pub pending_posts: usize,
    /// Events in one batch of a room, and about how many bytes.
    pub batch_events: usize,
    pub batch_bytes: usize,
    /// Seconds until a post that the store has not confirmed is answered 503.
    pub post_secs: u64,
    /// For how long every append must have failed until posts are refused at once; the first success ends it.
    pub away_millis: u64,
    /// For how long its sender may edit a message; 0 is for ever.
    pub edit_secs: u64,
    /// Who may see what an edited message said before; `off` erases it.
    pub edit_history: EditHistory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditHistory {
    Members,
    /// Owners and moderators of groups, and both of a private room.
    Moderators,
    Off,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sockets {
    pub connections: usize,
    pub connections_per_user: usize,
    pub subscriptions: usize,
    /// A client frame or message may not be longer.
    pub frame_bytes: usize,
    /// Frames a client may have waiting for an answer; reading pauses at so many.
    pub in_flight: usize,
    /// Answers and notices that may wait in one connection.
    pub outbox_bytes: usize,
    /// One write to a socket, at most.
    pub write_bytes: usize,
    pub ping_secs: u64,
    pub pong_secs: u64,
    /// A reader more than `behind_bytes` behind for longer than `behind_secs` is closed with 1013.
    pub behind_bytes: usize,
    pub behind_secs: u64,
    /// How long a closing socket may take to read its close frame.
    pub close_secs: u64,
    /// Frames that are not JSON, before the connection is closed with 1008.
    pub bad_frames: u32,
    /// Events read from the store at once for a reader that is behind the ring.
    pub replay_events: usize,
    /// Readers that may be reading from the store at once.
    pub replays: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Presence {
    pub enabled: bool,
    /// Changes are gathered for so long before they are told.
    pub batch_millis: u64,
    /// Somebody whose last connection is gone counts as online for so long.
    pub ttl_secs: u64,
    /// Rooms with more members than this are told how many are online, not who.
    pub names_up_to: usize,
    /// And so often at most.
    pub count_secs: u64,
    /// One `typing` of a user in a room is passed on in so long.
    pub typing_millis: u64,
    /// People who type, each in each room, that are remembered for that.
    pub typists: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Every request rate at once; size limits stay.
    pub rates: Rates,
    pub message_chars: usize,
    pub client_id_chars: usize,
    pub display_name_chars: usize,
    pub room_name_chars: usize,
    pub room_members: usize,
    /// Rooms that a user has made or joined by themselves.
    pub rooms_per_user: usize,
    /// Texts that a message may have had, the first included.
    pub edits: usize,
    /// People whom a user blocks.
    pub blocks_per_user: usize,
    /// Names that a room in a list of rooms shows at most.
    pub listed_members: usize,
    pub page_default: usize,
    pub page_max: usize,
    /// A page of a log ends early rather than be longer; it has at least one event.
    pub page_bytes: usize,
    pub uri_bytes: usize,
    pub headers: usize,
    pub header_bytes: usize,
    pub header_secs: u64,
    pub body_bytes: usize,
    pub body_secs: u64,
    pub json_depth: usize,
    /// What all bounds of memory are a part of that nobody has set; 0 is what the machine gives.
    pub memory_mib: u64,
    /// Heads, bodies and halves of frames on their way in, all together; what would be more is answered 503, or closed.
    pub incoming_bytes: usize,
    /// Answers on their way to clients, all together; while there would be more, long ones are answered 503.
    pub answer_bytes: usize,
    /// What the kernel holds for one connection on its way out, about, and how much of it may be unsent; 0 is as the kernel likes.
    pub send_buffer_bytes: usize,
    pub unsent_bytes: u32,
    /// A client that takes nothing of its answer for so long is cut off.
    pub answer_secs: u64,
    /// A request that takes longer is answered 503.
    pub request_secs: u64,
    /// HTTP connections at once, sockets not counted.
    pub http_connections: usize,
    /// Connections of one address, sockets too; 0 is no limit.
    pub connections_per_address: usize,
    /// Of the places for connections, those that are for probes and for who is signed in.
    pub reserved_connections: usize,
    /// An idle keep-alive connection is closed after so long.
    pub idle_secs: u64,
    /// Requests a second and at once, per user (per address where nobody is signed in).
    pub requests_per_sec: u32,
    pub requests_burst: u32,
    /// `/readyz` and `/metrics` a second and at once, per address.
    pub probes_per_sec: u32,
    pub probes_burst: u32,
    /// For how long `/readyz` tells what the last look at the store found.
    pub ready_millis: u64,
    /// Entries of a page, ids named in a frame and rooms followed with all others: so many cost as much as a request.
    pub things_per_request: usize,
    /// Posts a second and at once, per user, over REST and sockets together.
    pub posts_per_sec: u32,
    pub posts_burst: u32,
    /// Frames a second and at once, per socket; past it the socket is closed with 4429.
    pub frames_per_sec: u32,
    pub frames_burst: u32,
    /// Sign-ups a minute and at once, per address.
    pub signups_per_minute: u32,
    pub signups_burst: u32,
    /// Failed sign-ins to an account from one address, accounts that an address may try in vain, failed sign-ins to an account
    /// from wherever it is not known, and how long one counts.
    pub failed_logins_per_account: u32,
    pub failed_logins_per_address: u32,
    pub failed_logins_from_strangers: u32,
    pub failed_login_secs: u64,
    /// Sign-ins with the right password, per account and per address, and how long one counts.
    pub logins_per_account: u32,
    pub logins_per_address: u32,
    pub login_secs: u64,
    /// A search: characters and words of its text, how long it may look until it gives what it has found, and how many a minute
    /// and at once, per user.
    pub search_chars: usize,
    pub search_words: usize,
    pub search_ms: u64,
    pub searches_per_minute: u32,
    pub searches_burst: u32,
    /// Users and addresses whose rates are remembered.
    pub rate_keys: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rates {
    On,
    Off,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: LogFormat,
    /// `info`, or per module as in `natter=debug,hyper=warn`.
    pub level: String,
    /// Where sign-ins and what admins do are written, as JSON lines: a file, `stderr`, or nowhere where it is empty.
    pub audit: String,
    /// Which requests have a line of their own. Those that the server could not serve and slow ones always have.
    pub requests: LogRequests,
    /// A request that takes longer is slow.
    pub slow_millis: u64,
    /// Lines in a second, of refusals and of what always has one, each by itself; past it they are counted.
    pub requests_per_sec: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogRequests {
    Off,
    /// Those that were refused (4xx).
    Errors,
    All,
}

/// What is kept of sign-ins and of what admins do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// In the store, for `GET /audit`; 0 keeps nothing there.
    pub days: u64,
    /// And no more than so many entries; the oldest go.
    pub entries: usize,
    /// What one address repeats within this time is counted together.
    pub gather_secs: u64,
    /// Addresses that are counted apart at once; all others are counted together.
    pub addresses: usize,
    /// Entries that may wait to be written; the next is lost.
    pub queue: usize,
    /// The file of `log.audit` becomes `FILE.1` when it would be longer.
    pub file_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// Every key of the settings with its value: `server.bind`, and so on.
pub(super) fn flatten(config: &Config) -> BTreeMap<String, Value> {
    let sections = Value::serialize(config).expect("settings are plain values");
    let sections = sections.into_dict().expect("settings are sections");
    let keys = |(section, keys): (String, Value)| {
        let keys = keys.into_dict().expect("a section is keys");
        keys.into_iter().map(move |(key, value)| (format!("{section}.{key}"), value))
    };
    sections.into_iter().flat_map(keys).collect()
}
