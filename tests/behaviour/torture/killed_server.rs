//! Servers are killed at random moments under clients that change and ask: all that any client was ever told, before and
//! after, fits one order of events.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tests::{Random, effort, found};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::client::{self, Epoch, Role, Scene};
use super::file_calls;
use super::history::{Asked, Event, fits_one_order};
use super::victim::Victim;

const TASKS: usize = 5;
const CHANGING: usize = 8;
const ASKING: usize = 4;
/// Calls that fail where a disk does.
const FAILING: [&str; 5] = ["write", "pwrite", "fsync", "fdatasync", "rename"];
const EIO: &str = "5";
/// More calls of each kind than a start takes.
const PAST_THE_START: usize = 40;
const LONGEST_RESTART: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Counted {
    events: usize,
    broke_off: usize,
    longest_restart: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_are_told_fits_one_order_though_servers_are_killed() {
    let (seeds, kills, calls) = effort((3, 3, 600), (100, 2, 5_000));
    let built = scratch();
    let object = file_calls::object(built.path());
    let mut counted = Counted::default();
    for seed in 0..seeds {
        // The disk of every third history fails some time before the first kill.
        let failing = object.as_deref().filter(|_| seed % 3 == 2);
        history(seed, (kills, calls), failing, &mut counted).await;
    }
    let Counted { events, broke_off, longest_restart } = counted;
    found(&format!(
        "{seeds} histories, {} kills, {events} calls, {broke_off} broken off: 0 violations, 0 lost, 0 torn; longest \
         restart {longest_restart:?}",
        seeds as usize * kills
    ));
}

fn epoch(victim: &Victim, began: u64) -> Epoch {
    Epoch { channel: victim.channel(), began }
}

async fn history(seed: u64, (kills, calls): (usize, usize), failing: Option<&Path>, counted: &mut Counted) {
    let folder = scratch();
    let mut random = Random::new(seed);
    let mut victim = Victim::start_under(folder.path(), |command| {
        if let Some(object) = failing {
            let call = FAILING[random.below(FAILING.len())];
            command.env("LD_PRELOAD", object).env("HEADWATER_UNDER", folder.path());
            command.env("HEADWATER_FAIL_CALL", call).env("HEADWATER_FAIL_WITH", EIO);
            command.env("HEADWATER_FAIL_AT", (PAST_THE_START + random.below(calls / 20)).to_string());
        }
    })
    .await;
    let scene = Arc::new(Scene::new(victim.encoder(), TASKS));
    let epochs = watch::Sender::new(epoch(&victim, 0));
    let clients: Vec<_> = (0..CHANGING + ASKING)
        .map(|number| {
            let role = if number < CHANGING { Role::Changes } else { Role::Asks };
            let own = Random::new(seed * 1_000 + number as u64);
            let (scene, epochs) = (Arc::clone(&scene), epochs.subscribe());
            tokio::spawn(async move { client::run(&scene, epochs, (role, own), calls).await })
        })
        .collect();
    let mut made = scene.calls.subscribe();
    for kill in 0..kills {
        let share = calls / (kills + 1);
        let at = share * kill + 1 + random.below(share);
        made.wait_for(|made| *made >= at).await.unwrap();
        victim.kill();
        let started = Instant::now();
        victim = Victim::start(folder.path()).await;
        let took = started.elapsed();
        assert!(took < LONGEST_RESTART, "seed {seed}: a restart took {took:?}");
        counted.longest_restart = counted.longest_restart.max(took);
        epochs.send_replace(epoch(&victim, scene.now()));
    }
    let mut events = Vec::new();
    for client in clients {
        events.extend(client.await.unwrap());
    }
    events.extend(last_look(&scene, &victim.channel()).await);
    counted.events += events.len();
    counted.broke_off += events.iter().filter(|(_, event)| event.told == super::history::Told::Nothing).count();
    for task in 0..TASKS {
        let of_task: Vec<Event> = events.iter().filter(|(of, _)| *of == task).map(|(_, event)| *event).collect();
        fits_one_order(of_task).unwrap_or_else(|why| panic!("seed {seed}, task {task}: {why}"));
    }
}

/// What every task answers in the end.
async fn last_look(scene: &Scene, channel: &Channel) -> Vec<(usize, Event)> {
    let mut events = Vec::new();
    for task in 0..TASKS {
        let called = scene.now();
        let told = client::call(scene, channel, task, Asked::Classify).await.unwrap();
        events.push((task, Event { asked: Asked::Classify, told, called, returned: scene.now() }));
    }
    events
}

/// In memory where there is some, so that a sync costs nothing: what is tested is the order of events.
fn scratch() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}
