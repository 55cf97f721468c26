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

use super::{check, dotenv, links};

/// The original server's names for settings, honoured in the environment and in `.env`.
const ORIGINAL_NAMES: [(&str, &str); 5] = [
    ("DB_URL", "store.url"),
    ("DB_NAME", "store.db_name"),
    ("SECRET_KEY", "auth.secret_key"),
    ("ALGORITHM", "auth.algorithm"),
    ("ACCESS_TOKEN_EXPIRE_MINUTES", "auth.access_token_minutes"),
];

const PREFIX: &str = "NATTER_";

/// What is behind the key of a secret where a source names the file that it is in.
pub const IN_FILE: &str = "_file";

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    /// A name in a `.env`, and its line.
    Dotenv {
        file: PathBuf,
        name: String,
        line: usize,
    },
    Environment(String),
    /// What systemd hands over under this name.
    Credential(String),
    /// A file that holds a secret, and who names it.
    SecretFile {
        by: Box<Origin>,
        path: PathBuf,
    },
    /// A flag, as it was typed: `--bind`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Dotenv { file, name, line } => write!(f, "{}, line {line}, {name}", file.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::Credential(name) => write!(f, "credential {name}"),
            Origin::SecretFile { by, path } => write!(f, "{by} ({})", path.display()),
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

impl Given {
    /// What at the edges of a value is seldom meant, after "the value". In a file, quotes and spaces are what the file says.
    pub fn edge(&self) -> Option<&'static str> {
        let (Said::Text(text), Origin::Environment(_) | Origin::Flag(_)) = (&self.said, &self.origin) else {
            return None;
        };
        let (first, last) = (text.chars().next()?, text.chars().next_back()?);
        let unseen = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
        if unseen(first) || unseen(last) {
            return Some("begins or ends with white space, which is part of it; take that away");
        }
        let pairs = [('"', '"'), ('\'', '\''), ('\u{201c}', '\u{201d}'), ('\u{2018}', '\u{2019}')];
        let quoted = text.chars().nth(1).is_some() && pairs.contains(&(first, last));
        quoted.then_some("stands in quotes, which are part of it (`docker run --env-file` keeps them); take them away")
    }
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

/// What a source of variables gives, and what an operator should know of it.
#[derive(Debug, Default)]
pub struct Variables {
    pub given: Vec<Given>,
    pub warnings: Vec<String>,
}

/// Reads `.env` in `folder`, where there is one. Names that are not natter's are somebody else's business. Fails with a
/// sentence for each thing that is wrong.
pub fn dotenv(folder: &Path) -> Result<Variables, Vec<String>> {
    let one = |problem: String| vec![problem];
    let file = folder.join(".env");
    let shown = file.display();
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Variables::default()),
        Err(error) => return Err(one(format!("{shown}: the file cannot be read ({error})"))),
    };
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(one(format!("{shown}: the file is UTF-16; save it as UTF-8")));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        one(format!("{shown}, line {line}: this is not UTF-8 text"))
    })?;
    let pairs = dotenv::read(text).map_err(|fault| one(format!("{shown}, line {}: {}", fault.line, fault.what)))?;

    let (mut read, mut problems, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for pair in pairs {
        let Some(key) = key_of(&pair.name) else { continue };
        let origin = Origin::Dotenv { file: file.clone(), name: pair.name.clone(), line: pair.line };
        match pair.value {
            Err(what) => problems.push(format!("{origin}: {what}")),
            Ok(_) if pair.cut && check::is_secret(&key) => problems.push(format!(
                "{origin}: a `#` after a space begins a comment, and this value may be meant to have one; write the value in \
                 single quotes, or the comment on a line of its own"
            )),
            Ok(value) => {
                if pair.refers {
                    warnings.push(format!(
                        "{origin}: natter puts no variables into values, so `${{` stands for itself; single quotes say that \
                         it is meant"
                    ));
                }
                read.push((pair.name, value, origin));
            }
        }
    }
    if problems.is_empty() { Ok(Variables { given: variables(read), warnings }) } else { Err(problems) }
}

/// Reads environment variables, but for those that Kubernetes and Docker write. Fails, with a sentence for each, on those of
/// natter that are not text.
pub fn environment(all: &[(OsString, OsString)]) -> Result<Vec<Given>, Vec<String>> {
    let value_of = |wanted: &str| all.iter().find(|(name, _)| name == wanted).and_then(|(_, value)| value.to_str());
    let (mut read, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in all {
        let Some(name) = name.to_str().filter(|name| key_of(name).is_some()) else { continue };
        match value.to_str() {
            Some(value) if links::is_link(name, value, value_of) => {}
            Some(value) => read.push((name.to_owned(), value.to_owned(), Origin::Environment(name.to_owned()))),
            None => problems.push(format!("environment variable {name}: the value is not UTF-8 text")),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut given = variables(read);
    if let Some((_, credentials)) = all.iter().find(|(name, _)| name == "CREDENTIALS_DIRECTORY") {
        given.extend(credentials_in(Path::new(credentials)));
    }
    Ok(given)
}

/// What systemd hands over in this folder under the name of a secret's variable, as if another variable had named the file.
fn credentials_in(folder: &Path) -> Vec<Given> {
    let given = |(name, key): (String, &str)| {
        let path = folder.join(&name);
        path.symlink_metadata().is_ok().then(|| Given {
            key: format!("{key}{IN_FILE}"),
            said: Said::Text(path.display().to_string()),
            origin: Origin::Credential(name),
        })
    };
    secret_variables().into_iter().filter_map(given).collect()
}

/// The variables of settings that are secrets, with their keys.
fn secret_variables() -> Vec<(String, &'static str)> {
    let originals =
        ORIGINAL_NAMES.iter().filter(|(_, key)| check::is_secret(key)).map(|(name, key)| ((*name).into(), *key));
    originals.chain(check::SECRETS.iter().map(|key| (variable_of(key), *key))).collect()
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
    let of_secret = |(name, key): &&(&str, &str)| check::is_secret(key) && variable.strip_suffix("_FILE") == Some(name);
    if let Some((_, key)) = ORIGINAL_NAMES.iter().find(of_secret) {
        return Some(format!("{key}{IN_FILE}"));
    }
    Some(variable.strip_prefix(PREFIX)?.to_lowercase().replacen("__", ".", 1))
}

/// Natter's own among names with their values, the original's names first: what comes later wins.
fn variables(read: Vec<(String, String, Origin)>) -> Vec<Given> {
    let mut given: Vec<(bool, Given)> = read
        .into_iter()
        .filter_map(|(name, value, origin)| {
            let key = key_of(&name)?;
            Some((name.starts_with(PREFIX), Given { key, said: Said::Text(value), origin }))
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
