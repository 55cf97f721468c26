//! `natter demo`: a server with people in it, to look at. Everything of it is in a temporary folder, which goes with it.
//!
//! The server is the same as ever, with the settings in force but for where its data is. The people are clients of its
//! public API ([`person`]); they say what [`script`] has, at the pace of people.

mod client;
mod person;
mod script;

use std::{
    collections::HashMap,
    env, fs,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use natter::{
    auth::password::Asker,
    chat::users::Username,
    config::{self, Config, Log, load::Loaded},
    control::Operator,
    logging,
    types::Role,
};
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use self::{
    client::Client,
    person::Person,
    script::{ADMIN, GROUPS, GUEST, OPENING, PAIRS, Place, SCENES, Scene, TEAM},
};
use super::{
    health::reached,
    serve::{self, Serving, Signals},
};

/// For the end: nobody's work is lost, so nobody is waited for.
const DRAIN_SECS: u64 = 1;

pub fn demo(loaded: Loaded) -> Result<(), String> {
    logging::start(&Log { level: "warn".into(), ..loaded.config.log.clone() })?;
    let folder = Folder::make()?;
    let config = throw_away(loaded.config, &folder.0);
    let runtime = serve::runtime(&config.server)?;
    let done = runtime.block_on(run(config, &folder.0));
    runtime.shutdown_background();
    done
}

/// The settings in force, with nothing that lasts: no database, key, bus or metrics port of the server that they are meant for.
/// It listens where they say.
fn throw_away(config: Config, folder: &Path) -> Config {
    let url = format!("sqlite:{}", folder.join("natter.db").display());
    Config {
        server: config::Server {
            metrics_bind: None,
            drain_secs: config.server.drain_secs.min(DRAIN_SECS),
            // Its people speak plain HTTP, over loopback.
            tls_cert: String::new(),
            tls_key: String::new(),
            ..config.server
        },
        auth: config::Auth { secret_key: String::new(), ..config.auth },
        store: config::Store { url, ..config.store },
        bus: config::Bus::default(),
        ..config
    }
}

async fn run(config: Config, folder: &Path) -> Result<(), String> {
    let mut signals = Signals::listen()?;
    let password = password(config.auth.password_min_length);
    let serving = serve::start(config).await?;
    let played = tokio::select! {
        Err(why) = play(&serving, &password, folder) => Err(why),
        _ = signals.next() => Ok(()),
    };
    // A second signal is for who cannot wait even so long.
    tokio::select! {
        () = serving.drain() => {}
        _ = signals.next() => {}
    }
    played
}

/// Until it is dropped.
async fn play(serving: &Serving, password: &str, folder: &Path) -> Result<(), String> {
    let server = reached(serving.address);
    make_accounts(&serving.operator, password).await?;
    let stage = Stage::set(server, password).await?;
    for scene in OPENING {
        stage.tell(scene).await?;
    }
    let people = stage.enter(password);
    serve::print(&welcome(server, password, folder));
    loop {
        for scene in SCENES {
            for (name, line) in scene.lines {
                sleep(Duration::from_millis(rand::random_range(800..2_500))).await;
                if let (Some(person), Some(chat_id)) = (people.get(name), stage.chat(scene.place, name)) {
                    person.say(chat_id, line).await;
                }
            }
        }
    }
}

/// All have one password, which is hashed once.
async fn make_accounts(operator: &Operator, password: &str) -> Result<(), String> {
    let hashed = operator.passwords.hash(password.to_owned(), Asker::OPERATOR).await;
    let hash = hashed.map_err(|error| error.to_string())?;
    for name in TEAM.into_iter().chain([GUEST, ADMIN]) {
        let username = Username::parse(name).map_err(|error| error.to_string())?;
        let roles: &[Role] = if name == ADMIN { &[Role::Admin, Role::BasicUser] } else { &[Role::BasicUser] };
        operator.chat.register(username, hash.clone(), roles).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The team, signed in, and the rooms.
struct Stage {
    server: SocketAddr,
    clients: HashMap<&'static str, Client>,
    groups: HashMap<&'static str, String>,
    pairs: HashMap<(&'static str, &'static str), String>,
}

impl Stage {
    async fn set(server: SocketAddr, password: &str) -> Result<Self, String> {
        let mut stage = Self { server, clients: HashMap::new(), groups: HashMap::new(), pairs: HashMap::new() };
        for name in TEAM {
            stage.clients.insert(name, Client::sign_in(server, name, password).await?);
        }
        for group in GROUPS {
            let (owner, others) = group.members.split_first().ok_or("a group has an owner")?;
            let body = json!({ "name": group.name, "usernames": others });
            stage.groups.insert(group.name, stage.open(owner, body).await?);
        }
        for (name, other) in PAIRS {
            stage.pairs.insert((name, other), stage.open(name, json!({ "username": other })).await?);
        }
        Ok(stage)
    }

    async fn open(&self, by: &str, body: serde_json::Value) -> Result<String, String> {
        client::text(&self.client(by)?.post("/chat/new", body).await?, "chat_id")
    }

    fn client(&self, name: &str) -> Result<&Client, String> {
        self.clients.get(name).ok_or_else(|| format!("{name} is not of the team"))
    }

    fn chat(&self, place: Place, speaker: &'static str) -> Option<&str> {
        let found = match place {
            Place::Group(name) => self.groups.get(name),
            Place::With(other) => self.pairs.get(&(speaker, other)),
        };
        found.map(String::as_str)
    }

    /// Says all of it at once, as what was said before the visitor came.
    async fn tell(&self, scene: &Scene) -> Result<(), String> {
        for (name, line) in scene.lines {
            let chat_id = self.chat(scene.place, name).ok_or_else(|| format!("{name} speaks in a room of others"))?;
            self.client(name)?.post(&format!("/chat/{chat_id}"), json!({ "message": line })).await?;
        }
        Ok(())
    }

    /// Everybody comes online.
    fn enter(&self, password: &str) -> HashMap<&'static str, Person> {
        let person = |(name, client): (&&'static str, &Client)| {
            (*name, Person::begin(name, password.to_owned(), self.server, client.clone()))
        };
        self.clients.iter().map(person).collect()
    }
}

/// What a visitor needs to know, and nothing else.
fn welcome(server: SocketAddr, password: &str, folder: &Path) -> String {
    let name = |name: &str| format!("{name:10}");
    format!(
        "natter {version}, a demo\n\
         listening on http://{server}\n\
         data in {folder}, until this ends (Ctrl-C)\n\
         \n\
         Open http://{server} and sign in:\n\
         \n\
         \x20   {username}password\n\
         \x20   {guest}{password}\n\
         \x20   {admin}{password}    (sees the people page, too)\n\
         \n\
         {team} talk by themselves, and answer when you write to one of them. They have the same password.\n",
        version = env!("CARGO_PKG_VERSION"),
        folder = folder.display(),
        username = name("username"),
        guest = name(GUEST),
        admin = name(ADMIN),
        team = TEAM.join(", "),
    )
}

/// One that can be typed, and that nobody guesses: whoever reaches the address could sign in with it.
fn password(least_chars: usize) -> String {
    let one_of = |letters: &'static [u8]| char::from(letters[rand::random_range(0..letters.len())]);
    let (mut password, chars) = (String::new(), least_chars.max(14));
    while password.len() < chars {
        if !password.is_empty() {
            password.push('-');
        }
        for _ in 0..2 {
            password.push(one_of(b"bdfgklmnprstvz"));
            password.push(one_of(b"aeiou"));
        }
    }
    password.truncate(chars);
    password
}

/// A folder of our own that is gone afterwards, however that comes about.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, String> {
        let path = env::temp_dir().join(format!("natter-demo-{}", Uuid::now_v7()));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| {
            format!("{} cannot be made ({error}); set TMPDIR to a folder that can be written to", path.display())
        })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("natter: {} is left over ({error})", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_speaks_in_rooms_of_their_own() {
        for scene in OPENING.iter().chain(SCENES) {
            for (name, line) in scene.lines {
                let there = match scene.place {
                    Place::Group(group) => GROUPS.iter().any(|one| one.name == group && one.members.contains(name)),
                    Place::With(other) => PAIRS.contains(&(name, other)),
                };
                assert!(there && TEAM.contains(name), "{name}: {line}");
            }
        }
        assert!(GROUPS.iter().all(|group| TEAM.contains(&group.members[0])));
    }

    #[test]
    fn a_password_is_as_long_as_it_must_be_and_no_other_one() {
        for least in [8, 14, 40, 72] {
            assert_eq!(password(least).len(), least.max(14));
        }
        assert_ne!(password(8), password(8));
    }

    #[test]
    fn nothing_of_the_real_server_is_used() {
        let real = Config {
            server: config::Server {
                metrics_bind: Some(SocketAddr::from(([127, 0, 0, 1], 9))),
                ..Config::default().server
            },
            auth: config::Auth { secret_key: "the real one".into(), ..config::Auth::default() },
            store: config::Store { url: "mongodb://real".into(), ..config::Store::default() },
            bus: config::Bus { url: "nats://real".into(), ..config::Bus::default() },
            ..Config::default()
        };
        let demo = throw_away(real, Path::new("/tmp/demo"));
        assert_eq!((demo.store.url.as_str(), demo.bus.url.as_str()), ("sqlite:/tmp/demo/natter.db", ""));
        assert_eq!((demo.auth.secret_key.as_str(), demo.server.metrics_bind), ("", None));
    }
}
