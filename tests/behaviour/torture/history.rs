//! Whether all that many clients were told of one task fits one order of events, in which every call took effect at a
//! moment between its start and its end.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tonic::Code;

/// Enough for a search as deep as a history is long.
const STACK_BYTES: usize = 256 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A head that answers this number.
    Install(u16),
    SetLive(u64),
    RollBack,
    Delete(u64),
    Classify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Installed(u64),
    Moved {
        to: u64,
        from: u64,
    },
    Deleted,
    /// Version and number.
    Answered(u64, u16),
    Refused(Code),
    /// The call broke off: it took effect before its end, or never will.
    Nothing,
}

/// A call, with the moments of its start and its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) asked: Asked,
    pub(crate) told: Told,
    pub(crate) called: u64,
    pub(crate) returned: u64,
}

/// A task as the contract describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Task {
    /// The number that each version answers.
    versions: BTreeMap<u64, u16>,
    last: u64,
    live: Option<u64>,
    /// Where `live` was before its last move.
    before: Option<u64>,
}

impl Task {
    /// Does what is asked, and tells what a server should.
    fn take(&mut self, asked: Asked) -> Told {
        match asked {
            Asked::Install(number) => {
                self.last += 1;
                self.versions.insert(self.last, number);
                self.live.get_or_insert(self.last);
                Told::Installed(self.last)
            }
            Asked::SetLive(to) if !self.versions.contains_key(&to) => Told::Refused(Code::NotFound),
            Asked::SetLive(to) => self.go_to(to),
            Asked::RollBack => match (self.live, self.before) {
                (None, _) => Told::Refused(Code::NotFound),
                (Some(_), None) => Told::Refused(Code::FailedPrecondition),
                (Some(_), Some(before)) => self.go_to(before),
            },
            Asked::Delete(version) if !self.versions.contains_key(&version) => Told::Refused(Code::NotFound),
            Asked::Delete(version) if self.live == Some(version) && self.versions.len() > 1 => {
                Told::Refused(Code::FailedPrecondition)
            }
            Asked::Delete(version) => {
                self.versions.remove(&version);
                self.live = self.live.filter(|live| *live != version);
                self.before = self.before.filter(|before| *before != version && self.live.is_some());
                Told::Deleted
            }
            Asked::Classify => match self.live {
                Some(live) => Told::Answered(live, self.versions[&live]),
                None => Told::Refused(Code::NotFound),
            },
        }
    }

    fn go_to(&mut self, to: u64) -> Told {
        let from = self.live.unwrap_or(0);
        if from != to {
            self.before = self.live;
            self.live = Some(to);
        }
        Told::Moved { to, from }
    }
}

/// # Errors
/// The call at which every order fails, and what was told around it.
pub(crate) fn fits_one_order(mut events: Vec<Event>) -> Result<(), String> {
    events.retain(|event| (event.asked, event.told) != (Asked::Classify, Told::Nothing));
    events.sort_by_key(|event| event.called);
    let searching = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let mut search = Search { events: &events, seen: HashSet::new(), furthest: 0 };
        if search.fits(0, BTreeSet::new(), Task::default()) {
            return Ok(());
        }
        let around = search.furthest.saturating_sub(12)..events.len().min(search.furthest + 12);
        let lines: Vec<_> = events[around].iter().map(|event| format!("{event:?}")).collect();
        Err(format!("no order of events explains this:\n{}", lines.join("\n")))
    });
    searching.unwrap().join().unwrap()
}

struct Search<'events> {
    /// By their start.
    events: &'events [Event],
    /// What has led nowhere.
    seen: HashSet<(usize, BTreeSet<usize>, Task)>,
    furthest: usize,
}

impl Search<'_> {
    /// Whether the events from `first` on fit, of which those in `done` have taken effect already.
    fn fits(&mut self, mut first: usize, mut done: BTreeSet<usize>, task: Task) -> bool {
        while done.remove(&first) {
            first += 1;
        }
        self.furthest = self.furthest.max(first);
        if first == self.events.len() {
            return true;
        }
        let candidates = self.candidates(first, &done);
        // A call that changes nothing and fits here may as well stand here.
        let idle = candidates.iter().copied().find(|at| {
            let mut after = task.clone();
            after.take(self.events[*at].asked) == self.events[*at].told && after == task
        });
        if let Some(at) = idle {
            done.insert(at);
            return self.fits(first, done, task);
        }
        if !self.seen.insert((first, done.clone(), task.clone())) {
            return false;
        }
        candidates.into_iter().any(|at| {
            let event = self.events[at];
            let mut done = done.clone();
            done.insert(at);
            let mut after = task.clone();
            let told = after.take(event.asked);
            let broke_off = event.told == Told::Nothing;
            (broke_off || told == event.told) && self.fits(first, done.clone(), after)
                || broke_off && self.fits(first, done, task.clone())
        })
    }

    /// The events that may come next: those that began before any other ended.
    fn candidates(&self, first: usize, done: &BTreeSet<usize>) -> Vec<usize> {
        let mut candidates = Vec::new();
        let mut earliest_end = u64::MAX;
        for (at, event) in self.events.iter().enumerate().skip(first) {
            if event.called > earliest_end {
                break;
            }
            if !done.contains(&at) {
                earliest_end = earliest_end.min(event.returned);
                candidates.push(at);
            }
        }
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(asked: Asked, told: Told, called: u64, returned: u64) -> Event {
        Event { asked, told, called, returned }
    }

    fn two_versions() -> Vec<Event> {
        vec![event(Asked::Install(7), Told::Installed(1), 0, 1), event(Asked::Install(8), Told::Installed(2), 2, 3)]
    }

    fn with(more: &[Event]) -> Result<(), String> {
        fits_one_order(two_versions().into_iter().chain(more.iter().copied()).collect())
    }

    #[test]
    fn calls_that_overlap_may_stand_in_either_order() {
        let moved = event(Asked::SetLive(2), Told::Moved { to: 2, from: 1 }, 4, 9);
        let ask = |version, number| event(Asked::Classify, Told::Answered(version, number), 5, 8);
        assert_eq!(with(&[moved, ask(1, 7)]), Ok(()));
        assert_eq!(with(&[moved, ask(2, 8)]), Ok(()));
        assert!(with(&[moved, ask(2, 7)]).is_err(), "one version with the other's number");
    }

    #[test]
    fn an_answer_older_than_an_acknowledgement_fits_no_order() {
        let moved = event(Asked::SetLive(2), Told::Moved { to: 2, from: 1 }, 4, 5);
        assert!(with(&[moved, event(Asked::Classify, Told::Answered(1, 7), 6, 7)]).is_err());
        assert_eq!(with(&[moved, event(Asked::Classify, Told::Answered(2, 8), 6, 7)]), Ok(()));
    }

    #[test]
    fn hundreds_of_calls_may_come_and_go_while_one_is_under_way() {
        let ask = |version, number| move |at: u64| event(Asked::Classify, Told::Answered(version, number), at, at);
        let (before, after) = ((5..500).map(ask(1, 7)), (500..900).map(ask(2, 8)));
        let asked: Vec<_> = before.chain(after).collect();
        for told in [Told::Nothing, Told::Moved { to: 2, from: 1 }] {
            let slow = event(Asked::SetLive(2), told, 4, 1_000);
            let all: Vec<_> = std::iter::once(slow).chain(asked.iter().copied()).collect();
            assert_eq!(with(&all), Ok(()));
            let back = event(Asked::Classify, Told::Answered(1, 7), 950, 950);
            let all: Vec<_> = all.into_iter().chain([back]).collect();
            assert!(with(&all).is_err(), "it came and went");
        }
    }

    #[test]
    fn a_call_that_broke_off_took_effect_before_its_end_or_never() {
        let broken = event(Asked::SetLive(2), Told::Nothing, 4, 9);
        let ask = |version, number, at| event(Asked::Classify, Told::Answered(version, number), at, at + 1);
        assert_eq!(with(&[broken, ask(1, 7, 5), ask(2, 8, 11), ask(2, 8, 13)]), Ok(()));
        assert_eq!(with(&[broken, ask(1, 7, 11)]), Ok(()));
        assert!(with(&[broken, ask(1, 7, 11), ask(2, 8, 13)]).is_err(), "it came after its end");
        assert!(with(&[broken, ask(2, 8, 5), ask(1, 7, 7)]).is_err(), "it came and went");
    }
}
