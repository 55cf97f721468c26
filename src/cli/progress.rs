//! How far a long command is, on standard error: a bar on a terminal, and a line now and then anywhere else.

use std::{
    future::Future,
    io::{IsTerminal, stderr},
    pin::pin,
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use natter::transfer::progress::{Progress, Snapshot};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Shown {
    stage: String,
    bar: Option<ProgressBar>,
    /// The last line, and whether it told of anything done.
    line: Option<(Instant, bool)>,
}

impl Shown {
    pub fn show(&mut self, now: &Snapshot) {
        if now.stage.is_empty() {
            return;
        }
        let another = self.stage != now.stage;
        self.stage.clone_from(&now.stage);
        if stderr().is_terminal() { self.draw(now, another) } else { self.write(now, another) }
    }

    fn draw(&mut self, now: &Snapshot, another: bool) {
        if another && let Some(before) = self.bar.take() {
            before.finish_and_clear();
        }
        let bar = self.bar.get_or_insert_with(|| {
            let amounts = if now.unit == "bytes" { "{bytes}/{total_bytes}" } else { "{human_pos}/{human_len} {msg}" };
            let template = format!("{{prefix}} [{{bar:32}}] {amounts}, {{eta}} left");
            let style = ProgressStyle::with_template(&template).expect("the template is one of indicatif's");
            ProgressBar::with_draw_target(Some(now.total), ProgressDrawTarget::stderr())
                .with_style(style.progress_chars("=> "))
                .with_prefix(now.stage.clone())
                .with_message(now.unit.clone())
        });
        bar.set_length(now.total.max(now.done));
        bar.set_position(now.done);
    }

    fn write(&mut self, now: &Snapshot, another: bool) {
        let due = match self.line {
            None => true,
            // The first step of a stage is news at once.
            Some((at, told)) => another || at.elapsed() >= LINE_EVERY || (!told && now.done > 0),
        };
        if due {
            eprintln!("{}", sentence(now));
            self.line = Some((Instant::now(), now.done > 0));
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn sentence(now: &Snapshot) -> String {
    let Snapshot { stage, unit, done, total } = now;
    match (unit.as_str(), total) {
        ("bytes", total) => format!("{stage}: {} of {}", HumanBytes(*done), HumanBytes(*total)),
        (unit, 0) => format!("{stage}: {done} {unit}"),
        (unit, total) => format!("{stage}: {done} of {total} {unit}"),
    }
}

/// Shows `progress` until `work` is done, or given up with Ctrl-C: then what it has begun is tidied away.
pub async fn while_shown<T>(progress: &Progress, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let (mut work, mut interrupted) = (pin!(work), pin!(tokio::signal::ctrl_c()));
    let mut shown = Shown::default();
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = look.tick() => shown.show(&progress.snapshot()),
            _ = &mut interrupted => return Err("interrupted".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_of_what() {
        let now = |unit: &str, total| Snapshot { stage: "checking".into(), unit: unit.into(), done: 2048, total };
        assert_eq!(sentence(&now("bytes", 4096)), "checking: 2.00 KiB of 4.00 KiB");
        assert_eq!(sentence(&now("events", 4096)), "checking: 2048 of 4096 events");
        assert_eq!(sentence(&now("messages", 0)), "checking: 2048 messages");
    }
}
