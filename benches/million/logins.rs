//! A database with everybody in it: users and rooms by `natter import`, and then a login for each, which no export holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use natter::{
    auth::refresh::RefreshToken,
    config::Config,
    store::{SessionRecord, Store, sqlite::SqliteStore},
    types::Timestamp,
};

use crate::world::{TOKEN_MINUTES, World, session_id, user_id};
use crate::{Outcome, export, server};

/// Writes on their way at once: they share commits.
const AT_ONCE: usize = 4_096;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    world: World,
    /// The server's program
    #[arg(long)]
    natter: PathBuf,
    /// Folder for the database, which must not exist
    #[arg(long)]
    data: PathBuf,
}

pub fn prepare(options: &Options) -> Outcome {
    let (world, began) = (&options.world, Instant::now());
    fs::create_dir(&options.data).map_err(|error| format!("cannot make {}: {error}", options.data.display()))?;
    let file = options.data.join("export.zst");
    export::write(&file, world)?;
    let mut import: Command = server::natter(&options.natter, &options.data);
    let imported = import.arg("import").arg("export.zst").stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if !imported.success() {
        return Err(format!("natter import ended with {imported}").into());
    }
    fs::remove_file(&file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(sign_in(&options.data.join(server::DATABASE), world))?;
    eprintln!("{} people in {} rooms, made in {:.0?}", world.people, world.rooms(), began.elapsed());
    Ok(())
}

async fn sign_in(database: &Path, world: &World) -> Outcome {
    let store = &SqliteStore::open(database, &Config::default().store, Arc::default())?;
    let now = Timestamp::now();
    let logins = (0..world.people).map(|user| async move {
        let login = SessionRecord {
            session_id: session_id(user),
            user_id: user_id(user),
            created_at: now,
            expires_at: now.plus_secs(120 * TOKEN_MINUTES),
        };
        // Nobody refreshes it.
        let first = RefreshToken::first(login.session_id).key();
        store.create_session(login, first, 1).await.map(drop)
    });
    stream::iter(logins).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    store.close().await;
    Ok(())
}
