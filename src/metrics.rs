//! What an operator sees at `/metrics`. Every bound of the server has a counter here that moves when it is hit.
//!
//! The metrics are plain atomics in one struct; whoever has something to count holds the struct.

pub mod format;
mod process;

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use self::format::Format;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Bound {
    /// The setting that was hit, as in `config.toml`: `sockets.connections`.
    pub setting: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CloseCode {
    pub code: u16,
    pub reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Answer {
    /// The route as the table writes it, so that ids make no new series.
    pub route: &'static str,
    pub method: &'static str,
    /// 499 where the client left before it was answered.
    pub status: u16,
}

/// What is running, and what it reads and writes.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Build {
    pub version: &'static str,
    /// Of the store that it serves.
    pub schema: u64,
    /// Of the files of `natter export`.
    pub export: u64,
    pub store: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OfRoute {
    /// As in [`Answer`].
    pub route: &'static str,
}

pub struct Metrics {
    registry: Registry,
    process: Registry,
    pub build: Family<Build, Gauge>,
    pub requests: Family<Answer, Counter>,
    pub request_seconds: Family<OfRoute, Histogram, fn() -> Histogram>,
    pub http_connections: Gauge,
    pub silent_closed: Counter,
    pub panics: Counter,
    pub connections: Gauge,
    pub connections_opened: Counter,
    pub closes: Family<CloseCode, Counter>,
    pub subscriptions: Gauge,
    pub frames_received: Counter,
    pub deliveries: Counter,
    pub delivered_bytes: Counter,
    pub socket_writes: Counter,
    pub socket_reads: Counter,
    pub socket_wakes: Counter,
    pub incoming_bytes: Gauge,
    pub answer_bytes: Gauge,
    pub replayed_events: Counter,
    pub rooms: Gauge,
    pub ring_bytes: Gauge<i64, AtomicI64>,
    pub posts: Counter,
    pub duplicate_posts: Counter,
    pub edits: Counter,
    pub deletions: Counter,
    pub pending_posts: Gauge,
    pub batch_events: Histogram,
    pub append_seconds: Histogram,
    pub commit_ops: Histogram,
    pub commit_seconds: Histogram,
    pub write_queue: Gauge,
    pub unsettled_bytes: Gauge,
    pub unsettled_since: Gauge,
    pub settled_events: Counter,
    pub database_bytes: Gauge,
    pub wal_bytes: Gauge,
    pub journal_bytes: Gauge,
    pub store_free_bytes: Gauge,
    pub store_reserve_bytes: Gauge,
    pub read_queue: Gauge,
    pub search_behind: Gauge,
    pub search_seconds: Histogram,
    pub store_errors: Counter,
    pub password_queue: Gauge,
    pub logins: Counter,
    pub failed_logins: Counter,
    pub users_online: Gauge,
    pub nodes: Gauge,
    pub bus_up: Gauge,
    pub bus_trusted: Gauge,
    pub hints_sent: Counter,
    pub hints_heard: Counter,
    pub hints_lost: Counter,
    pub catch_ups: Counter,
    pub store_retries: Counter,
    pub store_up: Gauge,
    pub bounds: Family<Bound, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || exponential_buckets(0.000_1, 2.0, 18);
        let counts = || exponential_buckets(1.0, 2.0, 14);
        let mut metrics = Self {
            registry: Registry::with_prefix("natter"),
            process: Registry::with_prefix("process"),
            build: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_1, 4.0, 9))),
            http_connections: Gauge::default(),
            silent_closed: Counter::default(),
            panics: Counter::default(),
            connections: Gauge::default(),
            connections_opened: Counter::default(),
            closes: Family::default(),
            subscriptions: Gauge::default(),
            frames_received: Counter::default(),
            deliveries: Counter::default(),
            delivered_bytes: Counter::default(),
            socket_writes: Counter::default(),
            socket_reads: Counter::default(),
            socket_wakes: Counter::default(),
            incoming_bytes: Gauge::default(),
            answer_bytes: Gauge::default(),
            replayed_events: Counter::default(),
            rooms: Gauge::default(),
            ring_bytes: Gauge::default(),
            posts: Counter::default(),
            duplicate_posts: Counter::default(),
            edits: Counter::default(),
            deletions: Counter::default(),
            pending_posts: Gauge::default(),
            batch_events: Histogram::new(counts()),
            append_seconds: Histogram::new(seconds()),
            commit_ops: Histogram::new(counts()),
            commit_seconds: Histogram::new(seconds()),
            write_queue: Gauge::default(),
            unsettled_bytes: Gauge::default(),
            unsettled_since: Gauge::default(),
            settled_events: Counter::default(),
            database_bytes: Gauge::default(),
            wal_bytes: Gauge::default(),
            journal_bytes: Gauge::default(),
            store_free_bytes: Gauge::default(),
            store_reserve_bytes: Gauge::default(),
            read_queue: Gauge::default(),
            search_behind: Gauge::default(),
            search_seconds: Histogram::new(seconds()),
            store_errors: Counter::default(),
            password_queue: Gauge::default(),
            logins: Counter::default(),
            failed_logins: Counter::default(),
            users_online: Gauge::default(),
            nodes: Gauge::default(),
            bus_up: Gauge::default(),
            bus_trusted: Gauge::default(),
            hints_sent: Counter::default(),
            hints_heard: Counter::default(),
            hints_lost: Counter::default(),
            catch_ups: Counter::default(),
            store_retries: Counter::default(),
            store_up: Gauge::default(),
            bounds: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    /// Counts that a bound was hit; `setting` is its name in `config.toml`.
    pub fn bound_hit(&self, setting: &'static str) {
        self.bounds.get_or_create(&Bound { setting }).inc();
    }

    /// Everything, for whoever takes what it is in `accept`.
    pub fn render_for(&self, accept: &str) -> (Format, String) {
        let format = Format::wanted(accept);
        (format, format.write(self.render()))
    }

    /// Everything, as OpenMetrics.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let written = text::encode_registry(&mut text, &self.registry)
            .and_then(|()| text::encode_registry(&mut text, &self.process))
            .and_then(|()| text::encode_eof(&mut text));
        written.expect("writing to a string cannot fail");
        text
    }

    fn register(&mut self) {
        self.process.register_collector(Box::new(process::Process));
        let r = &mut self.registry;
        r.register("build_info", "1, with the versions of what is running", self.build.clone());
        r.register(
            "http_requests",
            "HTTP requests, by their answer; 499: the client left before it",
            self.requests.clone(),
        );
        r.register_with_unit(
            "http_request",
            "From request head to answer, by route",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        r.register("http_connections", "HTTP connections open, sockets not counted", self.http_connections.clone());
        r.register(
            "silent_connections_closed",
            "HTTP connections closed while they said nothing, to make room for others",
            self.silent_closed.clone(),
        );
        r.register("handler_panics", "Handlers that panicked (each was one 500)", self.panics.clone());
        r.register("connections", "Sockets open", self.connections.clone());
        r.register("connections_opened", "Sockets opened", self.connections_opened.clone());
        r.register("closes", "Sockets closed, by code and reason", self.closes.clone());
        r.register("subscriptions", "Rooms followed, over all sockets", self.subscriptions.clone());
        r.register("frames_received", "Frames from clients", self.frames_received.clone());
        r.register("deliveries", "Events delivered to sockets", self.deliveries.clone());
        r.register("delivered_bytes", "Bytes written to sockets", self.delivered_bytes.clone());
        r.register(
            "incoming_bytes",
            "Requests and frames on their way in that are not whole",
            self.incoming_bytes.clone(),
        );
        r.register("answer_bytes", "Long answers on their way to clients", self.answer_bytes.clone());
        r.register("socket_writes", "Writes to sockets", self.socket_writes.clone());
        r.register("socket_reads", "Reads from sockets, also those that found nothing", self.socket_reads.clone());
        r.register(
            "socket_wakes",
            "Sockets looked after because somebody had work for them",
            self.socket_wakes.clone(),
        );
        r.register("replayed_events", "Events read from the store for readers behind", self.replayed_events.clone());
        r.register("rooms", "Rooms in memory", self.rooms.clone());
        r.register("ring_bytes", "Recent events in memory, in bytes", self.ring_bytes.clone());
        r.register("posts", "Messages stored", self.posts.clone());
        r.register("duplicate_posts", "Retries answered with the first message", self.duplicate_posts.clone());
        r.register("edits", "Messages given another text", self.edits.clone());
        r.register("deletions", "Messages deleted", self.deletions.clone());
        r.register("pending_posts", "Posts waiting for a commit", self.pending_posts.clone());
        r.register("batch_events", "Events in one batch of a room", self.batch_events.clone());
        r.register_with_unit(
            "append",
            "From a room's batch to its durability",
            Unit::Seconds,
            self.append_seconds.clone(),
        );
        r.register("commit_ops", "Writes in one commit of the store", self.commit_ops.clone());
        r.register_with_unit("commit", "One commit of the store", Unit::Seconds, self.commit_seconds.clone());
        r.register("store_write_queue", "Writes waiting for the store", self.write_queue.clone());
        r.register(
            "store_unsettled_bytes",
            "Posts in the journal and not yet in the tables",
            self.unsettled_bytes.clone(),
        );
        r.register_with_unit(
            "store_unsettled_since",
            "When the oldest of them was stored, in Unix time; 0: there are none",
            Unit::Seconds,
            self.unsettled_since.clone(),
        );
        r.register(
            "store_settled_events",
            "Events moved from the journal into the tables",
            self.settled_events.clone(),
        );
        r.register("database_bytes", "The database on disk (SQLite)", self.database_bytes.clone());
        r.register("wal_bytes", "SQLite's write-ahead log on disk", self.wal_bytes.clone());
        r.register("journal_bytes", "The journal's files on disk", self.journal_bytes.clone());
        r.register(
            "store_free_bytes",
            "Free on the disk of the data, the reserve included",
            self.store_free_bytes.clone(),
        );
        r.register(
            "store_reserve_bytes",
            "Of it, what posts, accounts, rooms and sign-ins may not use",
            self.store_reserve_bytes.clone(),
        );
        r.register("store_read_queue", "Reads waiting for the store", self.read_queue.clone());
        r.register("search_behind_events", "Events in the store that no search finds yet", self.search_behind.clone());
        r.register_with_unit("search", "One page of a search", Unit::Seconds, self.search_seconds.clone());
        r.register("store_errors", "Requests the store could not serve", self.store_errors.clone());
        r.register("password_queue", "Passwords waiting to be hashed", self.password_queue.clone());
        r.register("logins", "Sign-ins", self.logins.clone());
        r.register("failed_logins", "Sign-ins refused", self.failed_logins.clone());
        r.register("users_online", "Users with at least one socket", self.users_online.clone());
        r.register("nodes", "Nodes that serve the same data, this one included", self.nodes.clone());
        r.register("bus_up", "1 while the bus can be reached, or where there is none", self.bus_up.clone());
        r.register(
            "bus_trusted",
            "1 while every living node is heard on the bus, or where there is none",
            self.bus_trusted.clone(),
        );
        r.register("hints_sent", "Hints given to the bus", self.hints_sent.clone());
        r.register("hints_heard", "Hints of other nodes", self.hints_heard.clone());
        r.register("hints_lost", "Hints that did not arrive, or were not sent", self.hints_lost.clone());
        r.register("catch_ups", "Times a log was read because it grew elsewhere", self.catch_ups.clone());
        r.register(
            "store_retries",
            "Operations tried again because the store did not answer",
            self.store_retries.clone(),
        );
        r.register(
            "store_up",
            "1 while the store answers (MongoDB) and takes what is written (SQLite)",
            self.store_up.clone(),
        );
        r.register("bound_hits", "Times a configured bound was hit", self.bounds.clone());
    }
}
