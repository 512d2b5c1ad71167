//! A client that changes and asks at random, and remembers what it was told and when.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use api::v1;
use api::v1::head_service_client::HeadServiceClient;
use api::v1::set_alias_request::Change;
use registry::Digest;
use tests::{Random, constant};
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::history::{Asked, Event, Told};
use super::{answer, send, upload};

/// A call breaks off when its server is killed: so long the next one may take.
const LONGEST_RESTART: Duration = Duration::from_secs(5);

/// A server at one time: connections to it, and the moment from which on nothing asked of the one before can happen.
#[derive(Debug, Clone)]
pub(crate) struct Epoch {
    pub(crate) channel: Channel,
    pub(crate) began: u64,
}

/// What all clients of one history share.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) encoder: Digest,
    /// Counts moments: every start and end of a call is one.
    moments: AtomicU64,
    numbers: AtomicU16,
    /// Versions that somebody has seen, for each task.
    known: Vec<Mutex<BTreeSet<u64>>>,
    pub(crate) calls: watch::Sender<usize>,
}

/// Which calls a client makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Changes,
    Asks,
}

impl Scene {
    pub(crate) fn new(encoder: Digest, tasks: usize) -> Self {
        Self {
            encoder,
            moments: AtomicU64::new(1),
            numbers: AtomicU16::new(1),
            known: (0..tasks).map(|_| Mutex::default()).collect(),
            calls: watch::Sender::new(0),
        }
    }

    /// A later moment than all before.
    pub(crate) fn now(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    fn choose(&self, task: usize, role: Role, random: &mut Random) -> Asked {
        let known: Vec<u64> = self.known[task].lock().unwrap().iter().copied().collect();
        let some = |random: &mut Random| known[random.below(known.len())];
        match (role, random.below(20)) {
            (Role::Asks, _) | (Role::Changes, 0) => Asked::Classify,
            (Role::Changes, 1..7) => Asked::Install(self.numbers.fetch_add(1, Ordering::SeqCst)),
            (Role::Changes, _) if known.is_empty() => Asked::Classify,
            (Role::Changes, 7..12) => Asked::SetLive(some(random)),
            (Role::Changes, 12..14) => Asked::RollBack,
            (Role::Changes, _) => Asked::Delete(some(random)),
        }
    }

    /// Remembers which versions can be asked for; not all that are gone are forgotten.
    fn learn(&self, task: usize, asked: Asked, told: Told) {
        let mut known = self.known[task].lock().unwrap();
        match (asked, told) {
            (_, Told::Installed(version)) => drop(known.insert(version)),
            (Asked::Delete(version), Told::Deleted | Told::Refused(Code::NotFound)) => drop(known.remove(&version)),
            _ => {}
        }
    }
}

pub(crate) fn name(task: usize) -> String {
    format!("history/task{task}")
}

/// Makes calls until so many were made by all, and gives back its own, with their tasks.
pub(crate) async fn run(
    scene: &Scene,
    mut epochs: watch::Receiver<Epoch>,
    (role, mut random): (Role, Random),
    calls: usize,
) -> Vec<(usize, Event)> {
    let mut events: Vec<(usize, Event)> = Vec::new();
    // Calls that broke off while the present server was there: whether they happened shows with the next.
    let mut unsettled = Vec::new();
    while *scene.calls.borrow() < calls {
        let epoch = epochs.borrow_and_update().clone();
        settle(&mut unsettled, &mut events, epoch.began);
        let task = random.below(scene.known.len());
        let asked = scene.choose(task, role, &mut random);
        let called = scene.now();
        let reply = call(scene, &epoch.channel, task, asked).await;
        let returned = scene.now();
        scene.calls.send_modify(|calls| *calls += 1);
        match reply {
            Ok(told) => {
                scene.learn(task, asked, told);
                events.push((task, Event { asked, told, called, returned }));
            }
            Err(status) if changed_nothing(&status) => {}
            Err(status) => {
                let broke_off = status.code() != Code::Internal;
                assert!(broke_off || asked != Asked::Classify, "answers go on whatever the disk does: {status:?}");
                unsettled.push((events.len(), epoch.began));
                events.push((task, Event { asked, told: Told::Nothing, called, returned: u64::MAX }));
                if broke_off {
                    let _ = tokio::time::timeout(LONGEST_RESTART, epochs.changed()).await;
                }
            }
        }
    }
    settle(&mut unsettled, &mut events, epochs.borrow().began);
    events
}

/// Refused for want of room, or because a disk has failed before.
fn changed_nothing(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted || status.message().contains("read-only")
}

/// What was asked of a server before the one that began then has happened by now, or never will.
fn settle(unsettled: &mut Vec<(usize, u64)>, events: &mut [(usize, Event)], began: u64) {
    unsettled.retain(|(at, asked_of)| {
        let event = &mut events[*at].1;
        if *asked_of < began {
            event.returned = began.max(event.called + 1);
        }
        *asked_of == began
    });
}

/// What a server tells, as far as the model says it too.
pub(crate) async fn call(scene: &Scene, channel: &Channel, task: usize, asked: Asked) -> Result<Told, Status> {
    let mut heads = HeadServiceClient::new(channel.clone());
    let task = name(task);
    let told = match asked {
        Asked::Install(number) => {
            let messages = upload(v1::InstallHeader::default(), &task, &constant(number), scene.encoder);
            send(channel, messages).await.map(|reply| Told::Installed(reply.version))
        }
        Asked::SetLive(version) => {
            let request = v1::SetAliasRequest { task, change: Some(Change::Version(version)), ..Default::default() };
            heads
                .set_alias(request)
                .await
                .map(tonic::Response::into_inner)
                .map(|reply| Told::Moved { to: reply.version.unwrap_or(0), from: reply.previous_version.unwrap_or(0) })
        }
        Asked::RollBack => {
            let reply = heads.rollback(v1::RollbackRequest { task, ..Default::default() }).await;
            reply
                .map(tonic::Response::into_inner)
                .map(|reply| Told::Moved { to: reply.version, from: reply.previous_version })
        }
        Asked::Delete(version) => {
            let request = v1::DeleteVersionRequest { task, version, ..Default::default() };
            heads.delete_version(request).await.map(|_| Told::Deleted)
        }
        Asked::Classify => answer(channel, &task).await.map(|(version, number)| Told::Answered(version, number)),
    };
    told.or_else(|status| {
        let is_refusal = matches!(status.code(), Code::NotFound | Code::FailedPrecondition);
        if is_refusal && !changed_nothing(&status) { Ok(Told::Refused(status.code())) } else { Err(status) }
    })
}
