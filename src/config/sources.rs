//! Reads the places a setting can come from, each into the same list of [`Given`].
//!
//! A source knows names and text. Whether a key exists and a value is acceptable is asked afterwards, in one place for all
//! sources (`load.rs`, `check.rs`), so that every complaint names the source in the same way.

use std::{
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use figment::{
    providers::{Format, Toml},
    value::{Dict, Value},
};

/// The original server's names for settings, honoured in the environment and in `.env`.
const ORIGINAL_NAMES: [(&str, &str); 5] = [
    ("DB_URL", "store.url"),
    ("DB_NAME", "store.db_name"),
    ("SECRET_KEY", "auth.secret_key"),
    ("ALGORITHM", "auth.algorithm"),
    ("ACCESS_TOKEN_EXPIRE_MINUTES", "auth.access_token_minutes"),
];

const PREFIX: &str = "NATTER_";

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    /// A name in `.env`.
    Dotenv(String),
    Environment(String),
    /// A flag, as it was typed: `--bind`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Dotenv(name) => write!(f, ".env, {name}"),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// What a source says: text is read by the type of its setting, a value has its type already.
#[derive(Debug, Clone)]
pub enum Said {
    Text(String),
    Value(Value),
}

/// One setting as one source gives it. The key is as the user wrote it, valid or not.
#[derive(Debug, Clone)]
pub struct Given {
    pub key: String,
    pub said: Said,
    pub origin: Origin,
}

/// A value typed on the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// As the user typed it: `--bind`.
    pub name: String,
    pub key: String,
    pub value: String,
}

/// Reads a TOML file. A syntax error is told by line and column and never quotes the file, which may hold a secret.
pub fn file(path: &Path) -> Result<Vec<Given>, String> {
    let text =
        fs::read_to_string(path).map_err(|error| format!("{}: the file cannot be read ({error})", path.display()))?;
    let sections = <Toml as Format>::from_str::<Dict>(&text).map_err(|error| {
        let place = error.span().map(|span| line_and_column(&text, span.start)).unwrap_or_default();
        let message = error.message().trim().replace('\n', ", ");
        format!("{}{place}: this is not TOML ({message})", path.display())
    })?;
    let origin = Origin::File(path.to_owned());
    let mut given = Vec::new();
    for (section, value) in sections {
        match value {
            Value::Dict(_, keys) if !keys.is_empty() => {
                given.extend(keys.into_iter().map(|(key, value)| Given {
                    key: format!("{section}.{key}"),
                    said: Said::Value(value),
                    origin: origin.clone(),
                }));
            }
            other => given.push(Given { key: section, said: Said::Value(other), origin: origin.clone() }),
        }
    }
    Ok(given)
}

/// Reads `.env` in `folder`, where there is one. Names that are not natter's are somebody else's business.
pub fn dotenv(folder: &Path) -> Result<Vec<Given>, String> {
    let bytes = match fs::read(folder.join(".env")) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!(".env: the file cannot be read ({error})")),
    };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut pairs = Vec::new();
    for pair in dotenvy::from_read_iter(bytes) {
        pairs.push(pair.map_err(|error| match error {
            // The error quotes the line, and the line may hold a secret.
            dotenvy::Error::LineParse(line, _) => {
                let at = String::from_utf8_lossy(bytes).lines().position(|l| line.starts_with(l.trim()));
                format!(".env{}: this is not NAME=value", at.map(|n| format!(", line {}", n + 1)).unwrap_or_default())
            }
            other => format!(".env: the file cannot be read ({other})"),
        })?);
    }
    Ok(variables(pairs, Origin::Dotenv))
}

/// Reads environment variables. Fails, with a sentence for each, on those of natter that are not text.
pub fn environment(all: &[(OsString, OsString)]) -> Result<Vec<Given>, Vec<String>> {
    let mut pairs = Vec::new();
    let mut problems = Vec::new();
    for (name, value) in all {
        let Some(name) = name.to_str() else { continue };
        match value.to_str() {
            Some(value) => pairs.push((name.to_owned(), value.to_owned())),
            None if key_of(name).is_some() => {
                problems.push(format!("environment variable {name}: the value is not UTF-8 text"));
            }
            None => {}
        }
    }
    if problems.is_empty() { Ok(variables(pairs, Origin::Environment)) } else { Err(problems) }
}

pub fn flags(flags: &[Flag]) -> Vec<Given> {
    let given = |flag: &Flag| Given {
        key: flag.key.clone(),
        said: Said::Text(flag.value.clone()),
        origin: Origin::Flag(flag.name.clone()),
    };
    flags.iter().map(given).collect()
}

/// The environment variable that sets a key.
pub fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// The key that an environment variable sets; `None` for variables that are not natter's.
fn key_of(variable: &str) -> Option<String> {
    if let Some((_, key)) = ORIGINAL_NAMES.iter().find(|(name, _)| *name == variable) {
        return Some((*key).to_owned());
    }
    Some(variable.strip_prefix(PREFIX)?.to_lowercase().replacen("__", ".", 1))
}

/// Natter's own among `pairs`, the original's names first: what comes later wins.
fn variables(pairs: Vec<(String, String)>, origin: fn(String) -> Origin) -> Vec<Given> {
    let mut given: Vec<(bool, Given)> = pairs
        .into_iter()
        .filter_map(|(name, value)| {
            let key = key_of(&name)?;
            Some((name.starts_with(PREFIX), Given { key, said: Said::Text(value), origin: origin(name) }))
        })
        .collect();
    given.sort_by_key(|(own, _)| *own);
    given.into_iter().map(|(_, given)| given).collect()
}

fn line_and_column(text: &str, at: usize) -> String {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    format!(", line {line}, column {column}")
}
