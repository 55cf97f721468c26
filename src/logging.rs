//! Logs go to standard error, as text or as one JSON object a line. Nobody logs a token, a password or a message.

use tracing_subscriber::fmt;

use crate::config::{Log, LogFormat, log_filter};

/// Starts logging for the life of the process. Fails, with a sentence, when it has been started before.
pub fn start(config: &Log) -> Result<(), String> {
    let filter = log_filter::parse(&config.level)?;
    // A log that cannot be written (a full disk, a reader that is gone) is lost, and must not take the server with it.
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let started = match config.format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
    started.map_err(|error| format!("logging cannot start ({error})"))
}
