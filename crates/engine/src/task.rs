//! Names of tenants, tasks, versions and aliases: parsed once, then trusted.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;

use crate::traffic::Call;

/// The longest task name, in bytes.
pub const MAX_TASK_NAME_BYTES: usize = 128;
/// The longest tenant name or alias, in bytes.
pub const MAX_SHORT_NAME_BYTES: usize = 64;

/// The alias that answers when a caller names no version.
pub const LIVE: &str = "live";

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("the name is empty")]
    Empty,
    /// The name is longer than its kind allows.
    #[error("the name has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Length of the refused name.
        bytes: usize,
        /// The limit for its kind.
        limit: usize,
    },
    /// A part between slashes is empty, is `.` or `..`, or does not begin with a letter or a digit.
    #[error(
        "every part between slashes must begin with a letter or a digit, and only letters, digits and . _ + & - may follow"
    )]
    Malformed,
    /// A version that is not a number from 1 up.
    #[error("a version is a whole number from 1 up")]
    NotAVersion,
}

/// A tenant: the namespace in which a task name means something.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantName(Arc<str>);

/// A task name such as `glue/sst2`: case-sensitive parts joined by `/`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskName(Arc<str>);

/// A movable name for one version of a task; never a number, so that it cannot be taken for one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alias(Arc<str>);

/// The number of one immutable version of a task, counted from 1 and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(NonZeroU64);

/// A task inside its tenant's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey {
    /// The namespace.
    pub tenant: TenantName,
    /// The task in it.
    pub task: TaskName,
}

/// Which version of a task a caller wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Exactly this version.
    Version(Version),
    /// Whatever version the alias names at this moment.
    Alias(Alias),
    /// Whatever version the task's traffic rule has answer this call; without a rule the one that [`LIVE`] names.
    Traffic(Call),
}

impl TenantName {
    /// The tenant of a server that runs without credentials.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

impl Alias {
    /// The alias [`LIVE`].
    #[must_use]
    pub fn live() -> Self {
        Self(LIVE.into())
    }
}

impl Version {
    /// The first version of a task.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The version numbered `number`; `None` for 0.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number itself.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.get()
    }

    /// The version after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

fn parse_part(part: &str) -> Result<(), NameError> {
    let mut bytes = part.bytes();
    let begins_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let goes_on_well = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._+&-".contains(&byte));
    if begins_well && goes_on_well { Ok(()) } else { Err(NameError::Malformed) }
}

fn check_length(name: &str, limit: usize) -> Result<(), NameError> {
    match name.len() {
        0 => Err(NameError::Empty),
        bytes if bytes > limit => Err(NameError::TooLong { bytes, limit }),
        _ => Ok(()),
    }
}

impl FromStr for TaskName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        check_length(name, MAX_TASK_NAME_BYTES)?;
        name.split('/').try_for_each(parse_part)?;
        Ok(Self(name.into()))
    }
}

impl FromStr for TenantName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        check_length(name, MAX_SHORT_NAME_BYTES)?;
        parse_part(name)?;
        Ok(Self(name.into()))
    }
}

impl FromStr for Alias {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        check_length(name, MAX_SHORT_NAME_BYTES)?;
        parse_part(name)?;
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NameError::Malformed);
        }
        Ok(Self(name.into()))
    }
}

impl FromStr for Version {
    type Err = NameError;

    fn from_str(number: &str) -> Result<Self, NameError> {
        number.parse().ok().and_then(Self::new).ok_or(NameError::NotAVersion)
    }
}

impl FromStr for Selector {
    type Err = NameError;

    /// A number is a version, anything else an alias, and the empty text is [`LIVE`].
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            Ok(Self::Alias(Alias::live()))
        } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse().map(Self::Version)
        } else {
            text.parse().map(Self::Alias)
        }
    }
}

macro_rules! reads_as_its_text {
    ($($name:ident),*) => {$(
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    )*};
}

reads_as_its_text!(TenantName, TaskName, Alias);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_names_of_the_family_are_accepted() {
        for name in ["glue/sst2", "WANLI", "lexical_relation_classification/K&H+N", "hh-rlhf", "a.b"] {
            assert_eq!(name.parse::<TaskName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for name in ["", "/", "a/", "/a", "a//b", ".", "..", "a/../b", " a", "a b", "a\0", "%2e%2e", "é", "a\\b"] {
            assert!(name.parse::<TaskName>().is_err(), "{name:?}");
        }
        assert!("a".repeat(MAX_TASK_NAME_BYTES + 1).parse::<TaskName>().is_err());
    }

    #[test]
    fn a_number_selects_a_version_and_a_word_an_alias() {
        assert_eq!("7".parse(), Ok(Selector::Version(Version::new(7).unwrap())));
        assert_eq!("".parse(), Ok(Selector::Alias(Alias::live())));
        assert_eq!("0".parse::<Selector>(), Err(NameError::NotAVersion));
        assert!("12".parse::<Alias>().is_err());
    }
}
