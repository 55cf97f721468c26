//! The key that signs access tokens: the operator's, or one made at the first start and kept with the data: in the data
//! folder, or in the database that all nodes share.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use natter::{auth::token, config::Auth};

use super::data::Place;

const NAME: &str = "secret.key";
const BYTES: usize = 48;

/// It has no `Debug`, so that no log can show it.
pub struct Key {
    pub bytes: Vec<u8>,
    /// What to tell the operator on every start.
    pub warning: Option<String>,
}

/// The key to sign with: where the operator gives none, one that is kept with the data.
pub async fn signing_key(config: &Auth, place: &Place) -> Result<Key, String> {
    if !config.secret_key.is_empty() {
        return Ok(Key { warning: check(config)?, bytes: config.secret_key.clone().into_bytes() });
    }
    match place {
        Place::Folder(folder) => kept(&folder.join(NAME)),
        Place::Shared(store) => {
            let key = store.signing_key(&fresh()).await.map_err(|error| error.to_string())?;
            Ok(Key { bytes: key.into_bytes(), warning: None })
        }
    }
}

fn fresh() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; BYTES]>())
}

/// Refuses a weak key of the operator's, or says what to warn of where it is allowed.
pub fn check(config: &Auth) -> Result<Option<String>, String> {
    let weakness = match config.secret_key.as_str() {
        "" => None,
        key => token::weakness(key),
    };
    match weakness {
        Some(weakness) if !config.allow_weak_secret => Err(weakness),
        Some(weakness) => {
            Ok(Some(format!("{weakness} It is used because auth.allow_weak_secret is true: anybody may forge tokens.")))
        }
        None => Ok(None),
    }
}

fn kept(path: &Path) -> Result<Key, String> {
    let shown = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path).map_err(|error| format!("{shown}: the signing key cannot be written ({error})"))?
        }
        Err(error) => return Err(format!("{shown}: the signing key cannot be read ({error})")),
    };
    let text = text.trim();
    if let Some(weakness) = token::weakness(text) {
        return Err(format!("{shown}: {weakness} Remove the file to have a new one made (everybody signs in again)."));
    }
    let warning = keep_private(path).map_err(|error| format!("{shown}: {error}"))?;
    Ok(Key { bytes: text.as_bytes().to_vec(), warning })
}

/// Under its name there is a whole key or none, whenever the power fails.
fn make(path: &Path) -> io::Result<String> {
    let text = fresh();
    let unnamed = path.with_extension("key.new");
    if let Err(error) = fs::remove_file(&unnamed)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&unnamed, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(text)
}

/// Takes the key away from everybody else, and says so where they had it.
fn keep_private(path: &Path) -> io::Result<Option<String>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(None);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(Some(format!(
        "{} could be read by others (mode {mode:o}) and is private now; if it may have been read, remove it and start again: \
         a new one is made, and everybody signs in again",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(secret_key: &str, allow_weak_secret: bool) -> Auth {
        Auth { secret_key: secret_key.into(), allow_weak_secret, ..Auth::default() }
    }

    async fn key_in(auth: &Auth, folder: &Path) -> Result<Key, String> {
        signing_key(auth, &Place::Folder(folder.to_owned())).await
    }

    #[tokio::test]
    async fn a_key_is_made_once_is_private_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = key_in(&auth("", false), folder.path()).await.unwrap_or_else(|error| panic!("{error}"));
        let second = key_in(&auth("", false), folder.path()).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(first.bytes == second.bytes && first.bytes.len() == 64 && first.warning.is_none());
        assert_eq!(fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_key_that_others_could_read_is_made_private_with_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        assert!(key_in(&auth("", false), folder.path()).await.is_ok());
        let path = folder.path().join(NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let key = key_in(&auth("", false), folder.path()).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(key.warning.is_some_and(|warning| warning.contains("644")));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_damaged_key_file_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), "short").unwrap();
        let error = key_in(&auth("", false), folder.path()).await.err().expect("refused");
        assert!(error.contains("secret.key") && error.contains("Remove the file"), "{error}");
    }

    #[tokio::test]
    async fn a_weak_key_is_refused_or_warned_about_every_time() {
        let folder = tempfile::tempdir().unwrap();
        assert!(key_in(&auth("your_secret_key", false), folder.path()).await.is_err());
        let allowed =
            key_in(&auth("your_secret_key", true), folder.path()).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(allowed.warning.is_some_and(|warning| warning.contains("allow_weak_secret")));
        assert_eq!(allowed.bytes, b"your_secret_key");
        let strong = "k9Jw2_Lq8vN4xT7bR1mZ5cY3hG6dF0sA-pQeUiOo";
        let key = key_in(&auth(strong, false), folder.path()).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(key.warning.is_none() && key.bytes == strong.as_bytes());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a given key is not written down");
    }
}
