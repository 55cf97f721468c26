//! A database with an import in it: made by `natter import`, or kept from an earlier run.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::export::{self, Shape};
use crate::child::Process;
use crate::{Outcome, Result, server};

/// A database that servers are started on, in a folder of its own.
pub struct Database {
    folder: TempDir,
    pub shape: Shape,
    /// Of the file, before anything was posted.
    pub bytes: u64,
    pub import_secs: f64,
}

/// What stands beside a kept database, so that nobody takes it for another.
#[derive(Serialize, Deserialize)]
struct About {
    shape: Shape,
    import_secs: f64,
}

impl Database {
    pub async fn import(shape: &Shape, set: &[String]) -> Result<Self> {
        let folder = server::scratch_folder()?;
        let (file, wanted) = (folder.path().join("export.zst"), shape.clone());
        let export = file.clone();
        tokio::task::spawn_blocking(move || export::write(&export, &wanted)).await??;
        let began = Instant::now();
        let mut command = server::natter();
        command.arg("import").arg(&file).args(["--store", &url(folder.path())]);
        command.args(set.iter().flat_map(|setting| ["--set", setting]));
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let status = Process::start(&mut command)?.ended().await?;
        if !status.success() {
            return Err(format!("natter import ended with {status}").into());
        }
        let import_secs = began.elapsed().as_secs_f64();
        fs::remove_file(&file)?;
        let bytes = fs::metadata(path(folder.path()))?.len();
        Ok(Self { folder, shape: shape.clone(), bytes, import_secs })
    }

    /// A copy of the one that is kept at `file`; where there is none, it is made and kept.
    pub async fn kept(file: &Path, shape: &Shape, set: &[String]) -> Result<Self> {
        let about = file.with_added_extension("json");
        if !file.exists() {
            // First, as an import takes minutes.
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
            }
            let made = Self::import(shape, set).await?;
            copy(path(made.folder.path()), file.to_owned()).await?;
            let text = serde_json::to_string(&About { shape: shape.clone(), import_secs: made.import_secs })?;
            fs::write(&about, text).map_err(|error| format!("cannot write {}: {error}", about.display()))?;
            return Ok(made);
        }
        let shown = file.display();
        let text = fs::read_to_string(&about).map_err(|error| {
            format!("{}: {error}; it would say what is in {shown}: name another file, or remove that", about.display())
        })?;
        let About { shape: found, import_secs } = serde_json::from_str(&text)?;
        if found != *shape {
            return Err(format!("{shown} holds {found:?}, and {shape:?} is asked for; name another file").into());
        }
        let folder = server::scratch_folder()?;
        fs::create_dir(folder.path().join("data"))?;
        copy(file.to_owned(), path(folder.path())).await?;
        let bytes = fs::metadata(file)?.len();
        Ok(Self { folder, shape: found, bytes, import_secs })
    }

    /// As `store.url` wants it.
    pub fn url(&self) -> String {
        url(self.folder.path())
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("data/natter.db")
}

fn url(folder: &Path) -> String {
    format!("sqlite:{}", path(folder).display())
}

/// On disk when it returns, so that the disk is idle when something is measured.
async fn copy(from: PathBuf, to: PathBuf) -> Outcome {
    let what = format!("cannot copy {} to {}", from.display(), to.display());
    let copying = move || -> io::Result<()> {
        fs::copy(&from, &to)?;
        File::open(&to)?.sync_all()
    };
    tokio::task::spawn_blocking(copying).await?.map_err(|error| format!("{what}: {error}").into())
}
