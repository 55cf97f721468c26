//! What every setting is where nobody sets it: the values that config.toml shows.

use std::net::SocketAddr;

use super::{
    Algorithm, Audit, Auth, Bus, Cluster, Directory, EditHistory, Invites, Limits, Log, LogFormat, LogRequests,
    Presence, Rates, Rooms, Server, Signup, Sockets, Store, Switch,
};

impl Default for Server {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 8000)),
            tls_cert: String::new(),
            tls_key: String::new(),
            metrics_bind: None,
            hosts: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            drain_secs: 20,
            backlog: 65_535,
            metrics: Switch::On,
            docs: Switch::On,
            threads: 0,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            secret_key: String::new(),
            allow_weak_secret: false,
            algorithm: Algorithm::HS256,
            access_token_minutes: 30,
            clock_skew_secs: 60,
            refresh_token_days: 30,
            refresh_grace_secs: 30,
            signup: Signup::Open,
            invites: Invites::Open,
            directory: Directory::Open,
            password_min_length: 8,
            bcrypt_cost: 12,
            password_threads: 0,
            password_queue: 64,
            sessions_per_user: 100,
            agent_chars: 200,
            cached_users: 200_000,
            cached_tokens: 200_000,
            cache_secs: 60,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "sqlite:data/natter.db".into(),
            db_name: "natter".into(),
            readers: 4,
            read_queue: 10_000,
            write_queue: 20_000,
            commit_ops: 4_096,
            unsettled_bytes: 64 << 20,
            unsettled_millis: 2_000,
            settle_secs: 30,
            max_bytes: 0,
            reserve: 0,
            wal_bytes: 64 << 20,
            inserts: 8,
            insert_events: 500,
            known_rooms: 100_000,
            answer_millis: 5_000,
            retry_millis: 5_000,
            wait_secs: 0,
        }
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            url: String::new(),
            credentials: String::new(),
            tls_ca: String::new(),
            queue: 10_000,
            inline_bytes: 16 * 1024,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            beat_millis: 250,
            silent_millis: 1_000,
            poll_millis: 300,
            check_millis: 5_000,
            node_secs: 10,
            yield_millis: 200,
            catch_ups: 16,
            remote_users: 1_000_000,
            told_moves: 100_000,
        }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            live: 200_000,
            idle_secs: 300,
            ring_events: 1_024,
            ring_bytes: 512 * 1024,
            rings_bytes: 512 * 1024 * 1024,
            pending_posts: 10_000,
            batch_events: 500,
            batch_bytes: 256 * 1024,
            post_secs: 10,
            away_millis: 1_000,
            edit_secs: 0,
            edit_history: EditHistory::Members,
        }
    }
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            connections: 1_000_000,
            connections_per_user: 100,
            subscriptions: 10_000,
            frame_bytes: 64 * 1024,
            in_flight: 256,
            outbox_bytes: 1024 * 1024,
            write_bytes: 64 * 1024,
            ping_secs: 30,
            pong_secs: 20,
            behind_bytes: 1024 * 1024,
            behind_secs: 10,
            close_secs: 3,
            bad_frames: 10,
            replay_events: 200,
            replays: 64,
        }
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            enabled: true,
            batch_millis: 500,
            ttl_secs: 5,
            names_up_to: 100,
            count_secs: 5,
            typing_millis: 2_000,
            typists: 100_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rates: Rates::On,
            message_chars: 4_000,
            client_id_chars: 128,
            display_name_chars: 100,
            room_name_chars: 100,
            room_members: 10_000,
            rooms_per_user: 10_000,
            edits: 200,
            blocks_per_user: 1_000,
            listed_members: 50,
            page_default: 50,
            page_max: 500,
            page_bytes: 1024 * 1024,
            uri_bytes: 8 * 1024,
            headers: 100,
            header_bytes: 32 * 1024,
            header_secs: 10,
            body_bytes: 256 * 1024,
            body_secs: 15,
            json_depth: 32,
            memory_mib: 0,
            incoming_bytes: 16 * 1024 * 1024,
            answer_bytes: 256 * 1024 * 1024,
            send_buffer_bytes: 256 * 1024,
            unsent_bytes: 128 * 1024,
            answer_secs: 30,
            request_secs: 30,
            http_connections: 50_000,
            connections_per_address: 4_000,
            reserved_connections: 64,
            idle_secs: 75,
            requests_per_sec: 100,
            requests_burst: 300,
            probes_per_sec: 20,
            probes_burst: 100,
            ready_millis: 1_000,
            things_per_request: 50,
            posts_per_sec: 20,
            posts_burst: 100,
            frames_per_sec: 50,
            frames_burst: 300,
            signups_per_minute: 30,
            signups_burst: 30,
            failed_logins_per_account: 10,
            failed_logins_per_address: 50,
            failed_logins_from_strangers: 200,
            failed_login_secs: 300,
            logins_per_account: 60,
            logins_per_address: 300,
            login_secs: 300,
            search_chars: 256,
            search_words: 16,
            search_ms: 100,
            searches_per_minute: 30,
            searches_burst: 30,
            rate_keys: 100_000,
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            days: 90,
            entries: 100_000,
            gather_secs: 10,
            addresses: 100,
            queue: 10_000,
            file_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".into(),
            audit: String::new(),
            requests: LogRequests::Errors,
            slow_millis: 1_000,
            requests_per_sec: 50,
        }
    }
}
