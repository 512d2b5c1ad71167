//! A rate with a burst: a bucket that fills at a steady pace. Pure: its callers say what time it is.

use std::time::Duration;

use tokio::time::Instant;

/// What the rounding of a refill may be off by.
const ROUNDING: f64 = 1e-9;

/// Full at first.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    capacity: f64,
    level: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A rate of 0 lets nothing through; any other lets one through at a time at least.
    pub(crate) fn new(per_second: f64, burst: f64, now: Instant) -> Self {
        let capacity = if per_second > 0.0 { burst.max(1.0) } else { 0.0 };
        Self { per_second, capacity, level: capacity, filled_at: now }
    }

    /// Whether the other has the same rate and burst.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.per_second, self.capacity) == (other.per_second, other.capacity)
    }

    /// With no more in it than `before` has.
    pub(crate) fn at_most(mut self, before: &mut Self) -> Self {
        before.fill(self.filled_at);
        self.level = self.level.min(before.level);
        self
    }

    /// Takes so many, if there is one: what it takes too much is filled up before the next. Else the time until there
    /// is one; `None` for never.
    pub(crate) fn take(&mut self, many: f64, now: Instant) -> Result<(), Option<Duration>> {
        self.take_above(1.0, many, now)
    }

    /// The same for whoever comes second: half a bucket is left to those who come first.
    pub(crate) fn take_spare(&mut self, many: f64, now: Instant) -> Result<(), Option<Duration>> {
        self.take_above((self.capacity / 2.0).max(1.0), many, now)
    }

    fn take_above(&mut self, least: f64, many: f64, now: Instant) -> Result<(), Option<Duration>> {
        self.fill(now);
        if self.level + ROUNDING >= least {
            self.level -= many;
            return Ok(());
        }
        Err(Duration::try_from_secs_f64((least - self.level) / self.per_second).ok())
    }

    fn fill(&mut self, now: Instant) {
        let gained = now.duration_since(self.filled_at).as_secs_f64() * self.per_second;
        self.level = (self.level + gained).min(self.capacity);
        self.filled_at = self.filled_at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_through_and_then_exactly_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 3.0, start);
        assert_eq!((0..9).filter(|_| bucket.take(1.0, start).is_ok()).count(), 3);
        for tenth in 1..=100 {
            let now = start + Duration::from_millis(100 * tenth);
            assert!(bucket.take(1.0, now - Duration::from_millis(1)).is_err(), "{tenth}");
            assert_eq!(bucket.take(1.0, now), Ok(()), "{tenth}");
            let wait = bucket.take(1.0, now).unwrap_err().unwrap();
            assert!((99..=100).contains(&wait.as_millis()), "{wait:?}");
        }
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..9).filter(|_| bucket.take(1.0, later).is_ok()).count(), 3);
    }

    #[test]
    fn whoever_comes_second_has_the_whole_rate_and_leaves_half_a_bucket() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 10.0, start);
        assert_eq!((0..9).filter(|_| bucket.take_spare(1.0, start).is_ok()).count(), 6);
        assert_eq!((0..9).filter(|_| bucket.take(1.0, start).is_ok()).count(), 4);
        assert_eq!(bucket.take_spare(1.0, start), Err(Some(Duration::from_millis(500))));
        let later = start + Duration::from_millis(500);
        for tenth in 0..100 {
            let now = later + Duration::from_millis(100 * tenth);
            assert_eq!(bucket.take_spare(1.0, now), Ok(()), "{tenth}");
            assert!(bucket.take_spare(1.0, now).is_err(), "{tenth}");
        }
    }

    #[test]
    fn what_takes_more_than_there_is_is_paid_before_the_next() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 10.0, start);
        assert_eq!(bucket.take(30.0, start), Ok(()));
        assert!(bucket.take(1.0, start + Duration::from_millis(2_000)).is_err());
        assert_eq!(bucket.take(1.0, start + Duration::from_millis(2_100)), Ok(()));
        assert_eq!(Bucket::new(0.0, 5.0, start).take(1.0, start), Err(None));
    }
}
