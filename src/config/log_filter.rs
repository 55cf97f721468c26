//! What `log.level` may say.

use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What would write messages and tokens into the log at `debug` or `trace`, whatever the level asked for. And the NATS
/// client, which logs every attempt to connect: the bus says once what it makes of them.
const TALKATIVE: &str =
    "tungstenite=warn,tokio_tungstenite=warn,hyper=info,hyper_util=info,rusqlite=info,async_nats=off";

/// A filter as `log.level` writes it: a level, or `module=level` pairs, with commas between.
///
/// Stricter than the filter's own language, in which a misspelt level is taken for the name of a module.
pub fn parse(text: &str) -> Result<EnvFilter, String> {
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
        if !LEVELS.contains(&level.to_lowercase().as_str()) {
            return Err(format!(
                "has no level in `{part}`; write one of {}, or per module as in `info,natter=debug`",
                LEVELS.join(", ")
            ));
        }
    }
    EnvFilter::builder()
        .parse(format!("{text},{TALKATIVE}"))
        .map_err(|error| format!("is not a filter ({error}); write `info` or `info,natter=debug`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        for good in ["info", "INFO", "natter=debug,hyper=warn", "warn,natter::chat=trace", "off"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "inof", "natter", "natter=loud", "info,", "=,="] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
