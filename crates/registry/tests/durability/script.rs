//! The victim: changes against a data directory, one line `ACK generation fingerprint` after each acknowledged one.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use engine::{
    About, Alias, Head, HeadKind, HeadParts, Quota, Retention, Shadow, Share, TaskKey, TenantName, Traffic, Version,
};
use registry::{Change, Digest, Install, NewToken, OpenOptions, Registry, RegistryError, Scope, TokenId};

use crate::model;

pub(crate) const SCRIPT_FLAG: &str = "--script";

/// As a server, with a ballast that is quick to copy.
pub(crate) const OPTIONS: OpenOptions = OpenOptions { ballast_bytes: 64 << 10, ..OpenOptions::SERVER };

/// When a token ends that outlives every clock here, in seconds since 1970.
const END: u64 = 1 << 40;

/// The words after [`SCRIPT_FLAG`], if this process is a victim.
pub(crate) fn words(arguments: &[String]) -> Option<Vec<&str>> {
    let (_, rest) = arguments.split_first()?;
    let (flag, words) = rest.split_first()?;
    (flag == SCRIPT_FLAG).then(|| words.iter().map(String::as_str).collect())
}

/// Runs one of the scripts. Exit status 3 and the error's text mean that the registry refused.
pub(crate) fn run(words: &[&str]) {
    let done = match words {
        ["fixed", dir] => run_fixed(Path::new(dir)),
        ["endless", dir, seed] => run_endless(Path::new(dir), seed.parse().unwrap()),
        ["hold", dir] => hold(Path::new(dir)),
        ["wear", dir, rounds, tasks] => {
            crate::wear::run(Path::new(dir), rounds.parse().unwrap(), tasks.parse().unwrap())
        }
        ["bare", dir] => {
            crate::bare_store::run(Path::new(dir));
            println!("CLOSED");
            Ok(())
        }
        _ => panic!("no such script: {words:?}"),
    };
    if let Err(error) = done {
        println!("REFUSED {error}");
        std::process::exit(3);
    }
}

/// The changes of the fixed script: install five, a bundle in one change, alias, alias back, describe, roll back, a
/// traffic rule, a retention rule with the installs that it applies to, delete, and what happens to tenants.
pub(crate) fn changes() -> Vec<Change> {
    let mut changes: Vec<Change> = (0..5).map(|number| install(&format!("group/task{}", number % 3), number)).collect();
    changes.push(bundle(8));
    changes.push(set_alias("group/task0", 1));
    changes.push(set_alias("group/task0", 2));
    changes.push(describe("group/task0", 2, "a new description"));
    changes.push(Change::Rollback { key: key("group/task0"), alias: Alias::live(), expected_generation: None });
    let shadow = Shadow { version: version(1), share: Share::new(0.5) };
    let traffic = Traffic { canary: None, shadow: Some(shadow) };
    changes.push(Change::SetTraffic { key: key("group/task1"), traffic, expected_generation: None });
    let retention = Retention { keep_last: Some(1), keep_for: None };
    changes.push(Change::SetRetention { key: key("group/task1"), retention, expected_generation: None });
    changes.push(install("group/task1", 50));
    changes.push(install("group/task1", 51));
    changes.push(Change::DeleteVersion { key: key("group/task1"), version: version(1), with_aliases: true });
    changes.extend(changes_of_tenants());
    changes
}

/// One tenant stays with its quota and its token. Another is made, given a quota, two tokens and a head, loses one
/// token, and is deleted with all it has.
fn changes_of_tenants() -> [Change; 9] {
    let [stays, goes] = ["stays", "goes"].map(|name| name.parse::<TenantName>().unwrap());
    let create = |name: &TenantName, quota| {
        let description = format!("it {name}");
        Change::CreateTenant { name: name.clone(), description, quota }
    };
    let quota = Quota { requests_per_second: Some(2.5), head_versions: Some(7), ..Quota::default() };
    let task = TaskKey { tenant: goes.clone(), task: "group/task0".parse().unwrap() };
    [
        create(&stays, quota),
        Change::CreateToken(NewToken { expires_unix_seconds: Some(END), ..new_token(&stays, 1) }),
        create(&goes, Quota::default()),
        Change::SetQuota { name: goes.clone(), quota },
        Change::CreateToken(new_token(&goes, 2)),
        Change::CreateToken(new_token(&goes, 3)),
        Change::Install(one_head(task, 60)),
        Change::RevokeToken { id: new_token(&goes, 2).id },
        Change::DeleteTenant { name: goes, with_heads: true },
    ]
}

/// The token whose name and secret follow from `number`.
fn new_token(tenant: &TenantName, number: u64) -> NewToken {
    NewToken {
        id: TokenId::from_bytes(number.to_be_bytes()),
        tenant: tenant.clone(),
        scopes: [Scope::Infer, Scope::Heads].into_iter().collect(),
        digest: Digest::of(&number.to_be_bytes()),
        description: number.to_string(),
        expires_unix_seconds: None,
    }
}

/// As many heads at once as make the registry sync their objects together.
fn bundle(heads: u64) -> Change {
    Change::InstallMany((0..heads).map(|number| one_head(key(&format!("bundle/task{number}")), 100 + number)).collect())
}

pub(crate) fn install(task: &str, seed: u64) -> Change {
    Change::Install(one_head(key(task), seed))
}

/// The head of `seed` as the live version of a task.
pub(crate) fn one_head(key: TaskKey, seed: u64) -> Install {
    let (head, encoder) = (Arc::new(head(seed)), Digest::of(b"encoder"));
    Install { key, version: None, head, encoder, forced: false, aliases: vec![Alias::live()] }
}

/// A small head whose numbers follow from `seed`; every other one has a task embedding, and all biases are equal.
pub(crate) fn head(seed: u64) -> Head {
    let weight: Arc<[f32]> = (0..24).map(|index| (seed * 24 + index) as f32 / 8.0).collect();
    let parts = HeadParts {
        labels: ["no", "maybe", "yes"].map(String::from).to_vec(),
        task_embedding: (seed % 2 == 1).then(|| weight.iter().copied().take(8).collect()),
        weight,
        bias: vec![0.5; 3].into(),
        ..HeadParts::default()
    };
    Head::new(HeadKind::Classification, 8, parts).unwrap()
}

pub(crate) fn set_alias(task: &str, number: u64) -> Change {
    let (key, version) = (key(task), version(number));
    Change::SetAlias { key, alias: Alias::live(), version, expected_generation: None }
}

pub(crate) fn describe(task: &str, number: u64, description: &str) -> Change {
    let about = About { description: description.to_owned(), ..About::default() };
    Change::Describe { key: key(task), version: version(number), about: Box::new(about), expected_generation: None }
}

pub(crate) fn key(task: &str) -> TaskKey {
    TaskKey { tenant: TenantName::default_tenant(), task: task.parse().unwrap() }
}

pub(crate) fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn run_fixed(dir: &Path) -> Result<(), RegistryError> {
    let mut registry = Registry::open(dir, &OPTIONS)?;
    for change in changes() {
        registry.commit(change)?;
        acknowledge(&registry);
    }
    registry.close()?;
    println!("CLOSED");
    Ok(())
}

/// Changes for ever, each following from what is there and `seed`.
fn run_endless(dir: &Path, seed: u64) -> Result<(), RegistryError> {
    let mut registry = Registry::open(dir, &OPTIONS)?;
    loop {
        acknowledge(&registry);
        let change = next_change(&registry, seed);
        registry.commit(change)?;
    }
}

/// The change of the endless script that follows from what is there and `seed`.
pub(crate) fn next_change(registry: &Registry, seed: u64) -> Change {
    let number = registry.generation();
    if number % 4 == 3 {
        return change_of_tenants(registry, number);
    }
    let task = format!("task{}", (number * 7 + seed) % 5);
    let oldest = registry
        .task(&key(&task))
        .filter(|task| task.versions.len() > 3)
        .and_then(|task| task.versions.first_key_value().map(|(version, _)| *version));
    match (number % 3, oldest) {
        (2, Some(version)) => Change::DeleteVersion { key: key(&task), version, with_aliases: true },
        (1, Some(version)) if number.is_multiple_of(2) => describe(&task, version.number(), &number.to_string()),
        (1, Some(version)) => set_alias(&task, version.number()),
        _ => install(&task, seed * 100_000 + number),
    }
}

/// A change of one of three tenants: made where it is not there, else given another quota, a token, one token less or a
/// head, and deleted with all it has once that is much.
fn change_of_tenants(registry: &Registry, number: u64) -> Change {
    let name: TenantName = format!("tenant{}", number / 4 % 3).parse().unwrap();
    let quota = Quota { rows_in_flight: Some(number as u32), ..Quota::default() };
    if registry.tenant(&name).is_none() {
        return Change::CreateTenant { name, description: number.to_string(), quota };
    }
    let tokens = || registry.tokens().filter(|(_, token)| token.tenant == name);
    let good = tokens().find(|(_, token)| !token.revoked).map(|(id, _)| id);
    match (number / 4 % 5, good) {
        (0, _) => Change::SetQuota { name, quota },
        (1, Some(id)) => Change::RevokeToken { id },
        (2, _) if tokens().count() > 6 => Change::DeleteTenant { name, with_heads: true },
        (3, _) => {
            let key = TaskKey { tenant: name, task: "task".parse().unwrap() };
            Change::Install(one_head(key, 1_000_000 + number))
        }
        _ => Change::CreateToken(new_token(&name, number)),
    }
}

/// Opens, says so, and keeps the directory until standard input ends.
fn hold(dir: &Path) -> Result<(), RegistryError> {
    let mut registry = Registry::open(dir, &OPTIONS)?;
    acknowledge(&registry);
    let mut line = [0; 1];
    while std::io::stdin().read(&mut line).unwrap() > 0 {
        registry.commit(install("held", registry.generation()))?;
        acknowledge(&registry);
    }
    registry.close()
}

/// One write, so that a killed process leaves whole lines or none.
fn acknowledge(registry: &Registry) {
    let line = format!("ACK {} {}\n", registry.generation(), model::fingerprint(registry));
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}
