//! How the calls of a task are divided among its versions, and which version judges them unseen.

use std::hash::{BuildHasher, RandomState};

use sha2::{Digest, Sha256};

use crate::task::{TaskName, Version};

/// The longest key by which a caller may be assigned, in bytes.
pub const MAX_TRAFFIC_KEY_BYTES: usize = 256;

/// A share of calls, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

/// How a canary rule assigns a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// At random, call by call.
    Random,
    /// By a stable hash of the task and the caller's key; a call without a key at random.
    Key,
    /// Calls that ask for it by a header.
    Header,
}

/// Sends a share of the calls that name no version to another version.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Canary {
    /// That version.
    pub version: Version,
    /// The share; without meaning where a header decides.
    pub share: Share,
    /// How a call is assigned.
    pub split: Split,
}

/// Lets a second version judge the same vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shadow {
    /// That version.
    pub version: Version,
    /// The share of calls that it judges; `None` means all.
    pub share: Option<Share>,
}

/// A task's rule. The default divides nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    /// Who else answers.
    pub canary: Option<Canary>,
    /// Who judges unseen.
    pub shadow: Option<Shadow>,
}

/// What a call that names no version brings for a rule to decide by. Drawn once, so that equal looks decide equally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// Drawn at random.
    chance: u64,
    /// Where the caller's key lies, if there is one.
    key: Option<u64>,
    by_header: bool,
}

impl Share {
    /// All calls.
    pub const ALL: Self = Self(1.0);

    /// `None` unless `share` is a number from 0 to 1.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// The share as a number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }

    /// Whether a point of the whole range of numbers lies in the share: a larger share covers all that a smaller one does.
    fn covers(self, point: u64) -> bool {
        self.0 >= 1.0 || (point as f64) / 2_f64.powi(64) < self.0
    }
}

impl Call {
    /// A call to `task` with this key, which may be empty, and with or without the header.
    #[must_use]
    pub fn new(task: &TaskName, key: &str, by_header: bool) -> Self {
        let chance = RandomState::new().hash_one(0_u8);
        Self { chance, key: (!key.is_empty()).then(|| place(task, key)), by_header }
    }

    /// The same call, with the header where `by_header` says so.
    #[must_use]
    pub fn with_header(self, by_header: bool) -> Self {
        Self { by_header, ..self }
    }
}

impl Traffic {
    /// Whether every call goes to the live version and nobody else judges.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.canary.is_none() && self.shadow.is_none()
    }

    /// Whether the rule needs `version`.
    #[must_use]
    pub fn holds(&self, version: Version) -> bool {
        self.canary.is_some_and(|canary| canary.version == version)
            || self.shadow.is_some_and(|shadow| shadow.version == version)
    }

    /// The rule without the parts that need `version`.
    #[must_use]
    pub fn without(self, version: Version) -> Self {
        Self {
            canary: self.canary.filter(|canary| canary.version != version),
            shadow: self.shadow.filter(|shadow| shadow.version != version),
        }
    }

    /// The version that answers `call` in place of the live one, if another one does.
    #[must_use]
    pub fn answers(&self, call: Call) -> Option<Version> {
        let canary = self.canary?;
        let assigned = match canary.split {
            Split::Random => canary.share.covers(call.chance),
            Split::Key => canary.share.covers(call.key.unwrap_or(call.chance)),
            Split::Header => call.by_header,
        };
        assigned.then_some(canary.version)
    }

    /// The version that judges `call` unseen, if one does.
    #[must_use]
    pub fn judges(&self, call: Call) -> Option<Version> {
        let shadow = self.shadow?;
        // Other digits of the draw than the canary's, so that the two do not choose the same calls.
        shadow.share.unwrap_or(Share::ALL).covers(call.chance.rotate_left(32)).then_some(shadow.version)
    }
}

/// Where a key lies: the same on every server and in every version of this program.
fn place(task: &TaskName, key: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(task.as_str());
    hash.update([0]);
    hash.update(key);
    let digest: [u8; 32] = hash.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64) -> Version {
        Version::new(number).unwrap()
    }

    fn canary(share: f64, split: Split) -> Traffic {
        let canary = Canary { version: version(2), share: Share::new(share).unwrap(), split };
        Traffic { canary: Some(canary), shadow: None }
    }

    fn call(key: &str) -> Call {
        Call::new(&"a/b".parse().unwrap(), key, false)
    }

    #[test]
    fn a_share_is_from_0_to_1() {
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::new(wrong), None);
        }
        assert!(!Share::new(0.0).unwrap().covers(0) && Share::ALL.covers(u64::MAX));
    }

    #[test]
    fn equal_keys_meet_equal_versions_on_every_server() {
        let place_of = |key| place(&"a/b".parse().unwrap(), key);
        // The first bytes of the SHA-256 of "a/b\0user-1"; no later version may say otherwise.
        assert_eq!(place_of("user-1"), 0xb31e_c8d1_4e26_047b);
        assert_ne!(place_of("user-1"), place(&"a/c".parse().unwrap(), "user-1"));
        let rule = canary(0.5, Split::Key);
        for key in (0..100).map(|number| number.to_string()) {
            assert_eq!(rule.answers(call(&key)), rule.answers(call(&key)));
        }
    }

    #[test]
    fn a_share_of_the_keys_is_assigned_and_stays_so_when_the_share_grows() {
        let assigned = |share: f64| -> Vec<usize> {
            let rule = canary(share, Split::Key);
            (0..2_000).filter(|number| rule.answers(call(&number.to_string())).is_some()).collect()
        };
        let (tenth, fifth) = (assigned(0.1), assigned(0.2));
        assert!(
            (150..250).contains(&tenth.len()) && (330..470).contains(&fifth.len()),
            "{} {}",
            tenth.len(),
            fifth.len()
        );
        assert!(tenth.iter().all(|number| fifth.contains(number)));
    }

    #[test]
    fn a_call_without_a_key_is_assigned_at_random() {
        let rule = canary(0.5, Split::Key);
        let assigned = (0..1_000).filter(|_| rule.answers(call("")).is_some()).count();
        assert!((380..620).contains(&assigned), "{assigned} of 1000");
        let random = canary(0.5, Split::Random);
        let assigned = (0..1_000).filter(|_| random.answers(call("user-1")).is_some()).count();
        assert!((380..620).contains(&assigned), "a key does not count: {assigned} of 1000");
    }

    #[test]
    fn a_header_decides_alone() {
        let rule = canary(0.0, Split::Header);
        assert_eq!(rule.answers(call("user-1").with_header(true)), Some(version(2)));
        assert_eq!(canary(1.0, Split::Header).answers(call("user-1")), None);
    }

    #[test]
    fn the_shadow_chooses_calls_of_its_own() {
        let half = Share::new(0.5);
        let canary = Canary { version: version(2), share: Share(0.5), split: Split::Random };
        let rule = Traffic { canary: Some(canary), shadow: Some(Shadow { version: version(3), share: half }) };
        let calls: Vec<_> = (0..2_000).map(|_| call("")).collect();
        let both = calls.iter().filter(|call| rule.answers(**call).is_some() && rule.judges(**call).is_some()).count();
        assert!((400..600).contains(&both), "{both} of 2000");
        assert!(rule.holds(version(3)) && !rule.without(version(3)).holds(version(3)));
    }
}
