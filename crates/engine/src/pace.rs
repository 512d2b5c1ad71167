//! Policy: when rows that nobody waits at a screen for may go, so that the others hardly notice.

use std::time::Duration;

use tokio::time::Instant;

/// Latencies remembered.
const REMEMBERED: usize = 256;
/// Older latencies tell of another traffic.
const MEMORY: Duration = Duration::from_secs(30);
/// After so long without a caller, background rows need no leave.
const QUIET: Duration = Duration::from_secs(1);
/// A background batch is kept about this short, so that a caller after a pause waits no longer for it.
const SHORT: Duration = Duration::from_millis(5);
/// Of the latency of the slowest hundredth of calls, what a background batch may take at any time when nobody waits.
const UNNOTICED: f64 = 0.1;
/// Tokens of the first background batch.
const FIRST_TOKENS: usize = 32;

/// What is known of the traffic, and what follows for background rows.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Most tokens of a background batch: fewer after a long one, more after a brief one.
    tokens: usize,
    most_tokens: usize,
    /// Thousandths of the time that background batches may take which callers would notice.
    permille: u32,
    seconds_per_token: f64,
    /// When callers' rows were done, and how long after they came. A ring.
    latencies: Vec<(Instant, Duration)>,
    next_latency: usize,
    last_caller: Option<Instant>,
    /// No background batch that callers would notice begins earlier: when nobody waits, and when somebody does.
    rests_until: Option<(Instant, Instant)>,
}

/// Whether a background batch may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Now, with at most so many tokens.
    Now {
        /// Tokens; a longer row goes alone.
        tokens: usize,
    },
    /// Not before this moment, as far as can be told.
    NotBefore(Instant),
}

impl Pace {
    pub(crate) fn new(most_tokens: usize, permille: u32) -> Self {
        Self {
            tokens: FIRST_TOKENS.min(most_tokens.max(1)),
            most_tokens: most_tokens.max(1),
            permille: permille.max(1),
            seconds_per_token: 0.0,
            latencies: Vec::new(),
            next_latency: 0,
            last_caller: None,
            rests_until: None,
        }
    }

    /// A caller's row has come.
    pub(crate) fn caller_came(&mut self, now: Instant) {
        self.last_caller = Some(now);
    }

    /// A caller's row was done so long after it came.
    pub(crate) fn caller_served(&mut self, latency: Duration, now: Instant) {
        if self.latencies.len() < REMEMBERED {
            self.latencies.push((now, latency));
        } else if let Some(oldest) = self.latencies.get_mut(self.next_latency) {
            *oldest = (now, latency);
            self.next_latency = (self.next_latency + 1) % REMEMBERED;
        }
    }

    /// A background batch of so many tokens ended now and took so long.
    pub(crate) fn background_ran(&mut self, tokens: usize, took: Duration, now: Instant) {
        let per_token = took.as_secs_f64() / tokens.max(1) as f64;
        self.seconds_per_token =
            if self.seconds_per_token == 0.0 { per_token } else { 0.75 * self.seconds_per_token + 0.25 * per_token };
        if took > SHORT {
            self.tokens = (self.tokens / 2).max(1);
        } else if took < SHORT / 2 && tokens * 2 > self.tokens {
            self.tokens = (self.tokens * 2).min(self.most_tokens);
        }
        let times = 1_000 / self.permille;
        self.rests_until = Some((now + took * times, now + (took + self.slow_latency(now)) * times));
    }

    /// Whether a background batch may go whose first row has so many tokens.
    ///
    /// It may when no caller has come for a while; when nobody waits and it is too short to be noticed beside the
    /// slowest calls; and otherwise in so small a share of the time that few calls meet it. The last holds even while
    /// callers wait, so that a background row waits long but not for ever.
    pub(crate) fn leave(&self, first_row: usize, somebody_waits: bool, now: Instant) -> Leave {
        let quiet_from = self.last_caller.map(|last| last + QUIET);
        if !somebody_waits && quiet_from.is_none_or(|quiet| quiet <= now) {
            return Leave::Now { tokens: self.tokens };
        }
        let unnoticed = self.slow_latency(now).as_secs_f64() * UNNOTICED;
        if !somebody_waits && self.seconds_per_token > 0.0 && first_row as f64 * self.seconds_per_token <= unnoticed {
            let tokens = (unnoticed / self.seconds_per_token) as usize;
            return Leave::Now { tokens: tokens.clamp(first_row, self.tokens.max(first_row)) };
        }
        let rested = self.rests_until.map(|(idle, busy)| if somebody_waits { busy } else { idle });
        match rested {
            Some(rested) if rested > now => {
                let quiet = quiet_from.filter(|_| !somebody_waits);
                Leave::NotBefore(quiet.map_or(rested, |quiet| quiet.min(rested)))
            }
            Some(_) | None => Leave::Now { tokens: first_row },
        }
    }

    /// How long the slowest hundredth of recent calls took at least; nothing where there was none.
    fn slow_latency(&self, now: Instant) -> Duration {
        let recent = self.latencies.iter().filter(|(at, _)| now.duration_since(*at) <= MEMORY);
        let mut recent: Vec<Duration> = recent.map(|(_, latency)| *latency).collect();
        if recent.is_empty() {
            return Duration::ZERO;
        }
        let place = recent.len() * 99 / 100;
        let (_, slow, _) = recent.select_nth_unstable(place);
        *slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Callers whose rows take so long, the last of which came now; and a background row of 10 tokens that took 2 ms.
    fn pace(latency: Duration, now: Instant) -> Pace {
        let mut pace = Pace::new(1_024, 5);
        (0..300).for_each(|_| pace.caller_served(latency, now));
        pace.caller_came(now);
        pace.background_ran(10, 2 * MS, now);
        pace
    }

    #[test]
    fn after_a_quiet_second_batches_are_short_and_need_no_leave() {
        let now = Instant::now();
        let mut pace = pace(3 * MS, now);
        assert_eq!(pace.leave(10, false, now + QUIET), Leave::Now { tokens: FIRST_TOKENS });
        pace.background_ran(32, MS, now);
        assert_eq!(pace.leave(10, false, now + QUIET), Leave::Now { tokens: 64 });
        pace.background_ran(64, 9 * MS, now);
        pace.background_ran(32, 9 * MS, now);
        assert_eq!(pace.leave(10, false, now + QUIET), Leave::Now { tokens: 16 });
        assert_eq!(Pace::new(8, 5).leave(10, false, now), Leave::Now { tokens: 8 }, "nobody has ever come");
    }

    #[test]
    fn what_nobody_notices_goes_when_nobody_waits() {
        let now = Instant::now();
        let slow = pace(50 * MS, now);
        assert_eq!(slow.leave(10, false, now), Leave::Now { tokens: 25 });
        assert_eq!(slow.leave(25, false, now), Leave::Now { tokens: 25 });
        assert!(matches!(slow.leave(26, false, now), Leave::NotBefore(_)));
        assert!(matches!(slow.leave(10, true, now), Leave::NotBefore(_)), "but never before a caller");
    }

    #[test]
    fn what_callers_would_notice_has_a_small_share_of_the_time() {
        let now = Instant::now();
        let fast = pace(3 * MS, now);
        let rested = now + 400 * MS;
        assert_eq!(fast.leave(10, false, now), Leave::NotBefore(rested));
        assert_eq!(fast.leave(10, false, rested), Leave::Now { tokens: 10 });
        assert!(matches!(fast.leave(10, true, rested), Leave::NotBefore(_)), "longer where callers wait");
        assert_eq!(fast.leave(10, true, now + 1_100 * MS), Leave::Now { tokens: 10 });
    }

    #[test]
    fn latencies_of_another_traffic_are_forgotten() {
        let now = Instant::now();
        let mut pace = pace(500 * MS, now);
        let later = now + MEMORY + MS;
        pace.caller_came(later);
        pace.caller_served(3 * MS, later);
        assert_eq!(pace.slow_latency(later), 3 * MS);
    }
}
