//! A thousand heads over many tenants, one of them damaged: the others are there at once, and the bad one is named.

use std::fs;
use std::time::{Duration, Instant};

use engine::TaskKey;
use libtest_mimic::{Failed, Trial};
use registry::{Change, tools};

use crate::effort::found;
use crate::model;
use crate::script::{self, OPTIONS};
use crate::victim::{once_let_go, open, scratch};

const TENANTS: u64 = 20;
const HEADS: u64 = 1_000;
const LONGEST_START: Duration = Duration::from_secs(30);

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("of_a_thousand_heads_over_twenty_tenants_one_bad_one_is_set_aside", one_bad_head)]
}

fn key(number: u64) -> TaskKey {
    let tenant = format!("tenant-{}", number % TENANTS).parse().unwrap();
    TaskKey { tenant, task: format!("group/task{}", number / TENANTS).parse().unwrap() }
}

fn one_bad_head() -> Result<(), Failed> {
    let scratch = scratch();
    let mut registry = open(scratch.path(), &OPTIONS)?;
    let installs = (0..HEADS).map(|number| script::one_head(key(number), number));
    let committed = registry.commit(Change::InstallMany(installs.collect()))?;
    let bad = committed.installed[417].clone();
    let mut expected = model::heads(&registry);
    registry.close()?;
    let object = scratch.path().join("objects").join(bad.digest.hex());
    let mut bytes = fs::read(&object)?;
    bytes[5] ^= 4;
    fs::write(&object, bytes)?;

    let started = Instant::now();
    let registry = open(scratch.path(), &OPTIONS)?;
    let took = started.elapsed();
    assert!(took < LONGEST_START, "{took:?}");
    let damaged = &registry.boot_report().damaged;
    assert_eq!((damaged.len(), &damaged[0].key, damaged[0].version), (1, &bad.key, bad.version), "{damaged:?}");
    expected.remove(&(format!("{}/{}", bad.key.tenant, bad.key.task), bad.version.number()));
    assert_eq!((expected.len(), model::heads(&registry)), (HEADS as usize - 1, expected));
    registry.close()?;
    let verified = once_let_go(|| tools::verify(scratch.path()))?;
    assert_eq!((verified.heads, verified.damaged.len()), (HEADS as usize - 1, 1));
    found(&format!("{HEADS} heads over {TENANTS} tenants: open after {took:?}, one set aside"));
    Ok(())
}
