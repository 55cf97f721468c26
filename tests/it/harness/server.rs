//! One natter of a test's own: the real binary, a folder of its own, a port of its own.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Answer, in_time,
    people::{PASSWORD, Person},
    process::{Process, Ran},
    raw::Raw,
    services::{Database, on_mongodb},
    socket::Handshake,
};

/// How a server is to be started. Settings are `section.key`, or the bare name of an environment variable.
pub struct Setup {
    dir: Arc<TempDir>,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    /// Where the data is not in the folder.
    database: Option<Arc<Database>>,
}

impl Setup {
    /// Data of its own: a file in its folder, or a database where the tests run on MongoDB.
    pub fn new() -> Self {
        if on_mongodb() {
            return Self::on(&Arc::new(Database::fresh()));
        }
        let setup = Self::without_data();
        let url = format!("sqlite:{}/data/natter.db", setup.dir().display());
        setup.set("DB_URL", &url)
    }

    /// Data in a MongoDB, which others may share.
    pub fn on(database: &Arc<Database>) -> Self {
        let setup = Self { database: Some(database.clone()), ..Self::without_data() };
        setup.set("DB_URL", database.url()).set("DB_NAME", database.name())
    }

    /// A folder of its own and the settings that make tests quick: no request rates, cheap passwords, short drains.
    fn without_data() -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        Self { dir, env: BTreeMap::new(), args: Vec::new(), database: None }
            .set("server.bind", "127.0.0.1:0")
            .set("server.drain_secs", "3")
            .set("limits.rates", "off")
            .set("auth.bcrypt_cost", "4")
            .set("log.level", "info")
    }

    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.env.insert(variable(key), value.to_owned());
        self
    }

    pub fn unset(mut self, key: &str) -> Self {
        self.env.remove(&variable(key));
        self
    }

    /// Flags and subcommand.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self
    }

    /// Where it runs; its data is in `data` there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(self, file: &str, text: &str) -> Self {
        std::fs::write(self.dir().join(file), text).expect("the test's own folder is writable");
        self
    }

    /// Starts it and waits until it listens.
    pub async fn start(self) -> Server {
        let process = Process::spawn(self.command());
        Server::listening(self, process).await
    }

    /// As [`Setup::start`], in a shell that has run `shell` before: limits, other streams.
    pub async fn start_after(self, shell: &str) -> Server {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{shell}; exec \"$0\""), env!("CARGO_BIN_EXE_natter")]);
        command.current_dir(self.dir()).env_clear().envs(&self.env);
        let process = Process::spawn(command);
        Server::listening(self, process).await
    }

    /// For a start that must not succeed, or a command that ends by itself.
    pub async fn run(&self) -> Ran {
        Ran::of(self.command(), "").await
    }

    /// The same settings and data with other arguments.
    pub fn command_with(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
        command.current_dir(self.dir()).env_clear().envs(&self.env).args(args);
        command
    }

    fn command(&self) -> Command {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        self.command_with(&args)
    }
}

/// `limits.rates` is `NATTER_LIMITS__RATES`; a name without a dot is a variable already.
fn variable(key: &str) -> String {
    match key.contains('.') {
        true => format!("NATTER_{}", key.replace('.', "__").to_uppercase()),
        false => key.to_owned(),
    }
}

/// How clients reach a server: what people and sockets keep of it. It stays right across restarts.
#[derive(Clone)]
pub struct Reach {
    pub addr: SocketAddr,
    pub http: reqwest::Client,
}

impl Reach {
    pub fn new(addr: SocketAddr) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        Self { addr, http: http.expect("a client without TLS needs nothing") }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Any request; `build` adds headers and a body.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        build: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Answer {
        let what = format!("{method} {path}");
        let response = in_time(&what, build(self.http.request(method.clone(), self.url(path))).send()).await;
        Answer::read(&method, path, response.unwrap_or_else(|error| panic!("{what}: {error}"))).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, |request| request).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path, |request| request.json(body)).await
    }

    /// A bare connection, for what no client library would send.
    pub async fn raw(&self) -> Raw {
        Raw::connect(self.addr).await
    }

    pub fn handshake(&self, path: &str) -> Handshake {
        Handshake::new(self.addr, path)
    }

    pub async fn register(&self, username: &str, password: &str) -> Answer {
        self.post("/users/register", &json!({"username": username, "password": password})).await
    }

    /// `POST /token`, as a form.
    pub async fn sign_in(&self, username: &str, password: &str) -> Answer {
        let form = [("username", username), ("password", password)];
        self.request(Method::POST, "/token", |request| request.form(&form)).await
    }
}

/// The process ends before its data goes: fields are dropped in their order.
pub struct Server {
    process: Process,
    setup: Setup,
    pub reach: Reach,
}

impl Server {
    pub async fn start() -> Self {
        Setup::new().start().await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Self {
        settings.iter().fold(Setup::new(), |setup, (key, value)| setup.set(key, value)).start().await
    }

    async fn listening(setup: Setup, process: Process) -> Self {
        let line = process.line("listening on http").await;
        let (_, addr) = line.trim().split_once("://").expect("a URL");
        let addr = addr.parse().expect("an address to listen on");
        Self { process, setup, reach: Reach::new(addr) }
    }

    pub fn url(&self, path: &str) -> String {
        self.reach.url(path)
    }

    pub fn dir(&self) -> &Path {
        self.setup.dir()
    }

    pub fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// SIGTERM, and how it ended.
    pub async fn stop(&self) -> ExitStatus {
        self.process.signal("TERM");
        self.process.ended().await
    }

    /// SIGKILL: no chance to finish anything.
    pub async fn kill(&self) {
        self.process.signal("KILL");
        self.process.ended().await;
    }

    /// Starts it again, and kills it after so long, whatever it is doing then.
    pub async fn start_and_kill_within(&mut self, long: Duration) {
        let mut command = self.setup.command();
        command.env("NATTER_SERVER__BIND", self.reach.addr.to_string());
        self.process = Process::spawn(command);
        // Too early and too late are both among the moments that are tried.
        drop(tokio::time::timeout(long, self.process.ended()).await);
        self.kill().await;
    }

    /// Starts it again on its data and its port, after stopping it where it still runs.
    pub async fn restart(&mut self) {
        if self.process.running() {
            self.stop().await;
        }
        let mut command = self.setup.command();
        command.env("NATTER_SERVER__BIND", self.reach.addr.to_string());
        self.process = Process::spawn(command);
        self.process.line("listening on http").await;
    }

    /// As [`Server::restart`] with a setting changed.
    pub async fn restart_with(&mut self, key: &str, value: &str) {
        self.setup.env.insert(variable(key), value.to_owned());
        self.restart().await;
    }

    /// A subcommand on the same data.
    pub async fn cli(&self, args: &[&str]) -> Ran {
        self.cli_reading(args, "").await
    }

    /// The same with something on its stdin.
    pub async fn cli_reading(&self, args: &[&str], input: &str) -> Ran {
        Ran::of(self.setup.command_with(args), input).await
    }

    /// The command line of this server's settings and data.
    pub fn command_with(&self, args: &[&str]) -> Command {
        self.setup.command_with(args)
    }

    pub fn rss_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS in its status");
        line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
    }

    /// Every series by its name with labels, as `/metrics` writes it.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let answer = self.reach.get("/metrics").await;
        assert_eq!(answer.status, 200);
        let lines = answer.text().lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
            .collect()
    }

    /// The sum over all series of one name.
    pub async fn metric(&self, name: &str) -> f64 {
        let own = |series: &str| series == name || series.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        self.metrics().await.iter().filter(|(series, _)| own(series)).map(|(_, value)| value).sum()
    }

    /// Registers and signs in.
    pub async fn person(&self, username: &str) -> Person {
        self.reach.register(username, PASSWORD).await.ok();
        self.sign_in(username).await
    }

    /// A new login of somebody who is registered with [`PASSWORD`].
    pub async fn sign_in(&self, username: &str) -> Person {
        Person::of_login(self.reach.clone(), username, self.reach.sign_in(username, PASSWORD).await.ok())
    }

    pub async fn two_people(&self) -> (Person, Person) {
        (self.person("ann").await, self.person("bob").await)
    }

    /// Made on the command line, as an operator would.
    pub async fn admin(&self) -> Person {
        self.cli_reading(&["admin", "create", "--username", "root", "--password-stdin"], PASSWORD).await.ok();
        self.sign_in("root").await
    }
}
