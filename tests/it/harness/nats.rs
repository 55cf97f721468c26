//! A NATS server of a test's own: the real `nats-server`, on a port of its own that it keeps when it is started again.

use std::{net::SocketAddr, process::Command};

use tempfile::TempDir;

use super::{Process, services::Port};

pub struct Nats {
    dir: TempDir,
    port: Port,
    process: Process,
}

impl Nats {
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With lines of its configuration file. `{dir}` in them is a folder that [`Nats::with_files`] can fill.
    pub async fn with(config: &str) -> Self {
        Self::with_files(config, &[]).await
    }

    pub async fn with_files(config: &str, files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("the test's own folder is writable");
        }
        let config = config.replace("{dir}", &dir.path().display().to_string());
        std::fs::write(dir.path().join("nats.conf"), config).expect("the test's own folder is writable");
        let port = Port::take();
        let process = run(&dir, port.addr()).await;
        Self { dir, port, process }
    }

    pub fn url(&self) -> String {
        self.url_as("")
    }

    /// With who the client is: `token@`, `user:password@`.
    pub fn url_as(&self, who: &str) -> String {
        format!("nats://{who}{}", self.addr())
    }

    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    /// The path of a file in its folder.
    pub fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub async fn kill(&self) {
        self.process.signal("KILL");
        self.process.ended().await;
    }

    /// Starts it again, on the port that it had.
    pub async fn restart(&mut self) {
        self.process = run(&self.dir, self.addr()).await;
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Runs the server until it listens.
async fn run(dir: &TempDir, addr: SocketAddr) -> Process {
    let found = ["/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"];
    let program = found.into_iter().find(|path| std::fs::exists(path).unwrap_or(false)).unwrap_or("nats-server");
    let there = Command::new(program).arg("--version").output();
    assert!(there.is_ok(), "nats-server is not installed; tests/run installs it, or: apt-get install nats-server");
    let mut command = Command::new(program);
    let port = addr.port().to_string();
    command.args(["-a", "127.0.0.1", "-p", &port, "-c"]).arg(dir.path().join("nats.conf"));
    let process = Process::spawn(command);
    process.logged("Server is ready").await;
    process
}
