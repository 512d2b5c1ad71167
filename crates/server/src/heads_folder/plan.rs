//! Policy: what of a folder is to be installed and withdrawn, given what is stored. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine::{TaskName, Version};
use registry::Digest;

/// What is known of one head folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read {
    /// It has changed since the last look, so somebody may still be writing it.
    Unsettled,
    /// A head for this task.
    Head {
        task: TaskName,
        /// The digest it has as a version.
        digest: Digest,
    },
    /// It cannot be used as it is.
    Refused {
        /// The task, where that much could be read.
        task: Option<TaskName>,
        reason: String,
    },
}

/// A task as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) versions: BTreeMap<Version, Digest>,
    /// The version that came from the folder. None: the task is somebody else's.
    pub(super) watched: Option<Version>,
    pub(super) live: Option<Version>,
}

/// What is to become of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Looked at again before anything is done.
    Wait,
    /// It is what is served.
    Served(Version),
    /// To be installed, where a version has the same content under that number.
    Install(Option<Version>),
    /// Not to be used.
    Refuse(String),
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) folders: BTreeMap<PathBuf, Verdict>,
    /// Tasks of the folder that it no longer has.
    pub(super) withdrawn: Vec<TaskName>,
}

/// Compares. Nothing is withdrawn while the task of some folder is unknown: it may be that very task.
pub(super) fn plan(folders: &BTreeMap<PathBuf, Read>, stored: &BTreeMap<TaskName, Stored>) -> Plan {
    let mut claims: BTreeMap<&TaskName, usize> = BTreeMap::new();
    let mut all_known = true;
    for read in folders.values() {
        match read {
            Read::Head { task, .. } | Read::Refused { task: Some(task), .. } => *claims.entry(task).or_default() += 1,
            Read::Unsettled | Read::Refused { task: None, .. } => all_known = false,
        }
    }
    let verdict = |read: &Read| match read {
        Read::Unsettled => Verdict::Wait,
        Read::Refused { reason, .. } => Verdict::Refuse(reason.clone()),
        Read::Head { task, .. } if claims.get(task).is_some_and(|claims| *claims > 1) => {
            Verdict::Refuse(format!("another folder has a head for {task} as well"))
        }
        Read::Head { task, digest } => match stored.get(task) {
            Some(stored) => of_stored(stored, *digest),
            None => Verdict::Install(None),
        },
    };
    let verdicts = folders.iter().map(|(folder, read)| (folder.clone(), verdict(read))).collect();
    let gone = |(task, stored): &(&TaskName, &Stored)| stored.watched.is_some() && !claims.contains_key(task);
    let withdrawn = stored.iter().filter(gone).map(|(task, _)| task.clone()).filter(|_| all_known).collect();
    Plan { folders: verdicts, withdrawn }
}

fn of_stored(stored: &Stored, digest: Digest) -> Verdict {
    let Some(watched) = stored.watched else {
        return Verdict::Refuse("the task was not installed from this folder".to_owned());
    };
    if stored.versions.get(&watched) == Some(&digest) && stored.live == Some(watched) {
        return Verdict::Served(watched);
    }
    let same = stored.versions.iter().rev().find(|(_, known)| **known == digest);
    Verdict::Install(same.map(|(version, _)| *version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(task: &str, content: &str) -> Read {
        Read::Head { task: task.parse().unwrap(), digest: Digest::of(content.as_bytes()) }
    }

    fn folders<const N: usize>(reads: [(&str, Read); N]) -> BTreeMap<PathBuf, Read> {
        reads.into_iter().map(|(folder, read)| (folder.into(), read)).collect()
    }

    /// A task whose versions have these contents, the last of which is live.
    fn stored(task: &str, contents: &[&str], is_watched: bool) -> (TaskName, Stored) {
        let version = |number: usize| Version::new(number as u64 + 1).unwrap();
        let versions =
            contents.iter().enumerate().map(|(at, text)| (version(at), Digest::of(text.as_bytes()))).collect();
        let live = Some(version(contents.len() - 1));
        (task.parse().unwrap(), Stored { versions, live, watched: live.filter(|_| is_watched) })
    }

    fn verdict(read: Read, known: (TaskName, Stored)) -> Verdict {
        plan(&folders([("f", read)]), &[known].into()).folders.remove(&PathBuf::from("f")).unwrap()
    }

    #[test]
    fn what_is_new_is_installed_and_what_was_there_before_keeps_its_number() {
        assert_eq!(
            plan(&folders([("f", head("a", "1"))]), &BTreeMap::new()).folders["f".as_ref() as &std::path::Path],
            Verdict::Install(None)
        );
        let version = |number| Version::new(number).unwrap();
        assert_eq!(verdict(head("a", "2"), stored("a", &["1", "2"], true)), Verdict::Served(version(2)));
        assert_eq!(verdict(head("a", "1"), stored("a", &["1", "2"], true)), Verdict::Install(Some(version(1))));
        assert_eq!(verdict(head("a", "3"), stored("a", &["1", "2"], true)), Verdict::Install(None));
    }

    #[test]
    fn a_task_that_came_another_way_is_left_alone() {
        assert!(matches!(verdict(head("a", "2"), stored("a", &["1"], false)), Verdict::Refuse(_)));
        assert!(plan(&folders([]), &[stored("a", &["1"], false)].into()).withdrawn.is_empty());
    }

    #[test]
    fn what_is_gone_is_withdrawn_once_every_other_folder_is_understood() {
        let known = [stored("a", &["1"], true), stored("b", &["1"], true)].into();
        let b = ("b", head("b", "1"));
        let withdrawn = |more: Read| plan(&folders([b.clone(), ("x", more)]), &known).withdrawn;
        assert_eq!(withdrawn(head("c", "1")), ["a".parse().unwrap()]);
        assert!(withdrawn(Read::Unsettled).is_empty());
        assert!(withdrawn(Read::Refused { task: None, reason: String::new() }).is_empty());
        assert!(withdrawn(Read::Refused { task: Some("a".parse().unwrap()), reason: String::new() }).is_empty());
    }

    #[test]
    fn two_folders_with_one_task_change_nothing() {
        let both = folders([("f", head("a", "1")), ("g", head("a", "2"))]);
        let plan = plan(&both, &[stored("a", &["0"], true)].into());
        assert!(plan.folders.values().all(|verdict| matches!(verdict, Verdict::Refuse(_))));
        assert!(plan.withdrawn.is_empty());
    }
}
