//! The `natter` program. `cli` reads the command line; everything that serves is in the library.

mod cli;

use std::process::ExitCode;

/// Many small, short-lived allocations from many threads: what mimalloc is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
