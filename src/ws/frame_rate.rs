//! How fast a client may send frames, in two words for each connection.

/// A token bucket; times are seconds on the clock of `Shared`.
pub(super) struct FrameRate {
    spent: f32,
    at: u32,
}

impl FrameRate {
    /// Nothing is spent at this moment.
    pub fn from(now: u32) -> Self {
        Self { spent: 0.0, at: now }
    }

    /// `false`: over the rate.
    pub fn admit(&mut self, frames: u32, now: u32, per_sec: u32, burst: u32) -> bool {
        let gone = now.saturating_sub(self.at);
        self.at = now;
        self.spent = (self.spent - gone as f32 * per_sec as f32).max(0.0) + frames as f32;
        self.spent <= burst as f32
    }
}
