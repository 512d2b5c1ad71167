//! Which versions of a task are kept without anybody naming them.

use std::time::Duration;

use crate::task::Version;

/// A task's rule. An empty one keeps everything. What an alias or a traffic rule names is kept in any case, and so are
/// the newest version and the one that an alias named before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Keeps as many of the newest versions; from 1 where it is set.
    pub keep_last: Option<u32>,
    /// Keeps versions that are not older, in whole seconds; above 0 where it is set.
    pub keep_for: Option<Duration>,
}

impl Retention {
    /// Whether it keeps everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keep_last.is_none() && self.keep_for.is_none()
    }

    /// Which of `versions`, oldest first and each with its age, it gives up. A version stays as long as either part of
    /// the rule keeps it.
    #[must_use]
    pub fn gives_up(&self, versions: &[(Version, Duration)]) -> Vec<Version> {
        if self.is_empty() {
            return Vec::new();
        }
        let keep_last = self.keep_last.map_or(1, |last| last.max(1) as usize);
        let older = versions.len().saturating_sub(keep_last);
        let is_old = |age: &Duration| self.keep_for.is_none_or(|keep_for| *age > keep_for);
        versions.iter().take(older).filter(|(_, age)| is_old(age)).map(|(version, _)| *version).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_up(keep_last: Option<u32>, keep_for: Option<u64>) -> Vec<u64> {
        let rule = Retention { keep_last, keep_for: keep_for.map(Duration::from_secs) };
        // Versions 1 to 5, of which the oldest is 50 seconds old and the newest 10.
        let versions: Vec<_> =
            (1..=5_u64).map(|number| (Version::new(number).unwrap(), Duration::from_secs(60 - 10 * number))).collect();
        rule.gives_up(&versions).into_iter().map(Version::number).collect()
    }

    #[test]
    fn either_part_of_a_rule_keeps_a_version() {
        assert_eq!(given_up(None, None), [0; 0]);
        assert_eq!(given_up(Some(2), None), [1, 2, 3]);
        assert_eq!(given_up(None, Some(30)), [1, 2]);
        assert_eq!(given_up(Some(4), Some(30)), [1]);
        assert_eq!(given_up(Some(9), Some(1)), [0; 0]);
        assert_eq!(given_up(None, Some(1)), [1, 2, 3, 4], "the newest stays");
    }
}
