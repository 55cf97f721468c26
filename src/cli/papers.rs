//! What packages have beside the program: completions for shells and pages of the manual, both made from the command line itself.
//! No settings are read for them.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::CommandFactory;

use super::{Cli, Command};

/// `None`: the command is about something else.
pub fn written(command: &Command) -> Option<ExitCode> {
    let done = match command {
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "natter", &mut text);
            io::stdout().write_all(&text)
        }
        Command::Man { folder } => manual(folder),
        _ => return None,
    };
    Some(done.map_or_else(
        |error| {
            eprintln!("natter: nothing could be written ({error})");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

/// natter(1), and a page for each command of it.
fn manual(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}
