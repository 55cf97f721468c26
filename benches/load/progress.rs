//! How far a long preparation is: a bar on a terminal, nothing anywhere else.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One step of the tool's work, from the first thing done to the last. It is gone from the screen when it is dropped.
pub struct Phase(Option<ProgressBar>);

impl Phase {
    pub fn new(name: &'static str, length: usize) -> Self {
        Self(stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} [{bar:32}] {human_pos}/{human_len}, {eta} left")
                .expect("the template is one of indicatif's");
            ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr())
                .with_style(style.progress_chars("=> "))
                .with_prefix(name)
        }))
    }

    pub fn one_more(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
