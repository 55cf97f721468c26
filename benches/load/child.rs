//! A process that this tool waits for, and that ends with whoever waits.

use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use crate::Result;

pub struct Process(Child);

impl Process {
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?))
    }

    pub async fn ended(mut self) -> Result<ExitStatus> {
        loop {
            match self.0.try_wait()? {
                Some(status) => return Ok(status),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.0.kill().and_then(|()| self.0.wait()).map_or_else(|error| eprintln!("child: {error}"), |_| ());
        }
    }
}
