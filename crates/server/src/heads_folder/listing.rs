//! What became of every head of the folder, for whoever asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::{TaskName, Version};

/// A head folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Below the watched folder.
    pub(crate) path: String,
    /// Where it could be read.
    pub(crate) task: Option<TaskName>,
    pub(crate) state: State,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// It is what answers.
    Served(Version),
    /// It is looked at again, for this reason.
    Waiting(String),
    /// It is left out until its files change, for this reason.
    Refused(String),
}

/// Written by the keeper, read by calls.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    folders: Vec<Folder>,
    problem: Option<String>,
}

impl Listing {
    /// The folders in order of path, and why the watched folder cannot be read, if it cannot.
    pub(crate) fn now(&self) -> (Vec<Folder>, Option<String>) {
        let held = self.lock();
        (held.folders.clone(), held.problem.clone())
    }

    /// Folders that are served, that wait, and that are refused.
    pub(crate) fn counts(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for folder in &self.lock().folders {
            let place = match folder.state {
                State::Served(_) => 0,
                State::Waiting(_) => 1,
                State::Refused(_) => 2,
            };
            counts[place] += 1;
        }
        counts
    }

    /// Takes a new list, and gives back what is newly refused in it.
    pub(super) fn replace(&self, folders: Vec<Folder>) -> Vec<Folder> {
        let mut held = self.lock();
        let is_new = |folder: &&Folder| matches!(folder.state, State::Refused(_)) && !held.folders.contains(folder);
        let refused = folders.iter().filter(is_new).cloned().collect();
        held.folders = folders;
        refused
    }

    /// Notes why the watched folder cannot be read. Whether that is news.
    pub(super) fn complain(&self, problem: &str) -> bool {
        let before = self.lock().problem.replace(problem.to_owned());
        before.as_deref() != Some(problem)
    }

    /// The watched folder can be read.
    pub(super) fn solve(&self) {
        self.lock().problem = None;
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
