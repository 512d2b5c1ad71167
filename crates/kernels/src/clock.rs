//! Where the time of forward passes goes, stage by stage.

use std::sync::Mutex;
use std::time::Duration;
#[expect(clippy::disallowed_types, reason = "microseconds inside a pass, which no test pauses")]
use std::time::Instant;

/// Parts of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Tables, projection and normalisation.
    Input,
    /// Queries, keys and values.
    Projections,
    /// Scores, softmax and mixed values.
    Attention,
    /// Behind attention, with its residual and normalisation.
    AttentionOutput,
    /// The first of the feed-forward pair, with its activation.
    Intermediate,
    /// The second, with its residual and normalisation.
    Output,
    /// The pooler.
    Pooler,
}

/// All stages, in order.
pub const STAGES: [Stage; 7] = [
    Stage::Input,
    Stage::Projections,
    Stage::Attention,
    Stage::AttentionOutput,
    Stage::Intermediate,
    Stage::Output,
    Stage::Pooler,
];

/// Time of the passes so far, waits for other members included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Profile([Duration; STAGES.len()]);

impl Profile {
    /// The time of `stage`.
    #[must_use]
    pub fn of(&self, stage: Stage) -> Duration {
        self.0[stage as usize]
    }
}

/// One member's watch over a pass; it adds to `total` when dropped.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "microseconds inside a pass, which no test pauses")]
pub(crate) struct Clock<'a> {
    /// Nothing is timed without one.
    total: Option<&'a Mutex<Profile>>,
    own: Profile,
    last: Instant,
}

#[expect(clippy::disallowed_types, reason = "microseconds inside a pass, which no test pauses")]
impl<'a> Clock<'a> {
    pub(crate) fn new(total: Option<&'a Mutex<Profile>>) -> Self {
        Self { total, own: Profile::default(), last: Instant::now() }
    }

    /// `stage` has ended now.
    pub(crate) fn end(&mut self, stage: Stage) {
        if self.total.is_some() {
            let now = Instant::now();
            self.own.0[stage as usize] += now - self.last;
            self.last = now;
        }
    }
}

impl Drop for Clock<'_> {
    fn drop(&mut self) {
        let Some(total) = self.total else { return };
        // Sums of durations are whole at any moment.
        let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (total, own) in total.0.iter_mut().zip(self.own.0) {
            *total += own;
        }
    }
}
