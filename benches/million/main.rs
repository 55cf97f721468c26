//! A million people on one natter: the program behind `benches/million/run`, which says how it is used.
//!
//!     million prepare …     makes a database of so many users, each with a login, and their rooms
//!     million conduct …     starts a natter on it and processes of clients, leads them through everything, and reports
//!     million clients …     one of these processes
//!
//! Of natter's inside it knows what a database and a token are made of (`store`, `auth::token`), because a million people cannot
//! sign up and in one by one; everything else goes over the wire, so that it measures any connection engine.
//!
//! Bottom up: `world` (who there is), `export` and `logins` (how they come into the database), `clients` (sockets on an epoll),
//! `crew` (the processes of clients, seen from outside), `server`, `readings` (what the kernel says), `conduct` (what is done, in
//! which order) and `report`.

mod clients;
mod conduct;
mod crew;
mod export;
mod logins;
mod readings;
mod report;
mod server;
mod world;

// Export files, framing and the reading of single fields are the load tool's.
#[path = "../load/export_file.rs"]
mod export_file;
#[path = "../load/frames.rs"]
#[allow(dead_code)]
mod frames;
#[path = "../load/scan.rs"]
#[allow(dead_code)]
mod scan;

use std::process::ExitCode;

use clap::Parser;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
pub type Outcome = Result<()>;

/// A million people on one natter; benches/million/run is how to start it
#[derive(Parser)]
enum Cli {
    /// Make a database of users with a login each, and their rooms
    Prepare(logins::Options),
    /// Start a natter and clients, lead them through everything, and report
    Conduct(conduct::Options),
    /// Be some of the clients, as told on standard input
    Clients(clients::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse() {
        Cli::Prepare(options) => logins::prepare(&options),
        Cli::Conduct(options) => conduct::run(&options),
        Cli::Clients(options) => clients::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("million: {error}");
            ExitCode::FAILURE
        }
    }
}
