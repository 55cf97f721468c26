//! Logs go to standard error, as text or as one JSON object a line. Nobody logs a token, a password or a message.

use tracing_subscriber::{EnvFilter, fmt, fmt::SubscriberBuilder};

use crate::config::{Log, LogFormat, log_filter};

/// Starts logging for the life of the process. Fails, with a sentence, when it has been started before.
pub fn start(config: &Log) -> Result<(), String> {
    let filter = log_filter::parse(&config.level)?;
    let lines = lines(filter);
    let started = match config.format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
    started.map_err(|error| format!("logging cannot start ({error})"))?;
    if config.format == LogFormat::Json {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(|place| place.to_string());
            let what = panic.payload_as_str().unwrap_or("something that is no text");
            tracing::error!(place, "panicked: {what}");
        }));
    }
    Ok(())
}

type Lines = SubscriberBuilder<fmt::format::DefaultFields, fmt::format::Format, EnvFilter, fn() -> std::io::Stderr>;

fn lines(filter: EnvFilter) -> Lines {
    // A log that cannot be written (a full disk, a reader that is gone) is lost, and must not take the server with it.
    fmt().with_env_filter(filter).with_writer(std::io::stderr as fn() -> _).log_internal_errors(false)
}

/// Tells sentences in this form, whether or not logging could be started: what a start ends with.
pub fn tell(sentences: &[String], format: LogFormat) {
    match format {
        LogFormat::Text => sentences.iter().for_each(|sentence| eprintln!("natter: {sentence}")),
        LogFormat::Json => {
            let lines = lines(EnvFilter::new("error")).json().flatten_event(true).with_ansi(false);
            tracing::subscriber::with_default(lines.finish(), || {
                sentences.iter().for_each(|sentence| tracing::error!("{sentence}"));
            });
        }
    }
}
