//! The date by a clock that neither jumps nor stands: what the machine's said when the registry was opened, and the time
//! that has passed since, sleep included.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Whoever sets a machine's clock ends no token by that and retires no version, and keeps none.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    /// The date to which it was set.
    date: Duration,
    /// How long the machine ran then.
    uptime: Duration,
}

impl SteadyClock {
    /// One that goes by what the machine's clock says now.
    #[must_use]
    pub fn set_now() -> Self {
        let date = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { date, uptime: uptime() }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        (self.date + uptime().saturating_sub(self.uptime)).as_secs()
    }
}

fn uptime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
