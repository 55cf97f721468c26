//! Secrets that lie in files: `SECRET_KEY_FILE=/run/secrets/key` names the file of `SECRET_KEY`, and so for every variable of a
//! secret setting; a credential of systemd is found by the variable's own name.
//!
//! A file holds the value and nothing else; line ends at its end are not part of it. What cannot be read is told by the file's name,
//! and never by what is in it.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    check,
    sources::{Given, IN_FILE, Origin, Said},
};

/// More is no secret, and may be a device.
const MOST_BYTES: u64 = 64 * 1024;

/// The key whose value is in the file that this key names.
fn key_in_file(key: &str) -> Option<&str> {
    key.strip_suffix(IN_FILE).filter(|key| check::is_secret(key))
}

/// Puts the secrets in the places of the files that one source names, relative to `folder`. An empty text is as good as none.
pub fn from_files(given: Vec<Given>, folder: &Path) -> Result<Vec<Given>, Vec<String>> {
    let says_something = |given: &Given| !matches!(&given.said, Said::Text(text) if text.is_empty());
    let (files, mut rest): (Vec<Given>, Vec<Given>) =
        given.into_iter().partition(|given| key_in_file(&given.key).is_some());
    let mut problems = Vec::new();
    let mut named: Vec<Given> = files.into_iter().filter(says_something).collect();
    while let Some(Given { key: file_key, said, origin }) = named.pop() {
        let Some(key) = key_in_file(&file_key).map(String::from) else { continue };
        let rival = named.iter().find(|other| other.key == file_key);
        let rival = rival.or_else(|| rest.iter().find(|other| other.key == key && says_something(other)));
        if let Some(rival) = rival {
            problems.push(format!("{origin}: `{key}` is set by {} as well; take one of the two away", rival.origin));
            continue;
        }
        let path = match &said {
            Said::Text(path) => Some(path.as_str()),
            Said::Value(path) => path.as_str(),
        };
        let Some(path) = path.map(|path| folder.join(path)) else {
            problems.push(format!("{origin}: `{file_key}` must be the name of a file"));
            continue;
        };
        match secret_in(&path) {
            Ok(secret) => {
                rest.retain(|other| other.key != key);
                let origin = Origin::SecretFile { by: Box::new(origin), path };
                rest.push(Given { key, said: Said::Text(secret), origin });
            }
            Err(what) => problems.push(format!("{origin}: the file {} {what}", path.display())),
        }
    }
    if problems.is_empty() { Ok(rest) } else { Err(problems) }
}

fn secret_in(path: &PathBuf) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read ({error})"))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("is longer than {MOST_BYTES} bytes, so it holds no secret"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("is empty".into()),
        secret => Ok(secret.to_owned()),
    }
}
