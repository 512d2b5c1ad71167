//! How long a registry of many heads takes to fill and to open: `cargo run --release -p registry --example open_time`.
//!
//! Arguments, all optional: number of heads (10000), hidden size (768). Labels run from 2 to 11, every head has a task
//! embedding, and nothing is shared, which is the worst case.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]
#![expect(clippy::disallowed_types, reason = "there is no tokio here whose clock a test could pause")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use engine::{Alias, Head, HeadKind, HeadParts, TaskKey, TenantName};
use registry::{Change, Digest, Install, OpenOptions, Registry};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let heads = arguments.next().transpose()?.unwrap_or(10_000);
    let hidden = arguments.next().transpose()?.unwrap_or(768);
    let dir = tempfile::tempdir_in(".")?;
    let installs = (0..heads).map(|number| install(number, hidden)).collect::<Result<Vec<_>, _>>()?;

    let start = Instant::now();
    let mut registry = Registry::open(dir.path(), &OpenOptions::SERVER)?;
    println!("empty registry opened in {:?}", start.elapsed());

    let start = Instant::now();
    registry.commit(Change::InstallMany(installs))?;
    println!("{heads} heads installed in one change in {:?}", start.elapsed());

    let start = Instant::now();
    registry.commit(Change::Install(install(heads, hidden)?))?;
    println!("one more head installed in {:?}", start.elapsed());

    let start = Instant::now();
    registry.close()?;
    println!("closed in {:?}", start.elapsed());

    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let registry = Registry::open(dir.path(), &OpenOptions::SERVER)?;
    let (elapsed, cpu) = (start.elapsed(), cpu_seconds()? - cpu);
    println!("{} heads opened in {elapsed:?}, {cpu:.2} seconds of all cores", registry.boot_report().heads);
    Ok(())
}

/// Processor time of this process so far, on all cores; what other processes do to the clock does not count.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The program's name, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
    let (_, fields) = stat.rsplit_once(") ").ok_or("an unknown form of /proc/self/stat")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS_A_SECOND)
}

fn install(number: usize, hidden: usize) -> Result<Install, Box<dyn Error>> {
    let labels = 2 + number % 10;
    let numbers = |count: usize| (0..count).map(|index| (number * 31 + index) as f32 * 1e-3).collect::<Arc<[f32]>>();
    let parts = HeadParts {
        labels: (0..labels).map(|label| format!("label {label}")).collect(),
        weight: numbers(labels * hidden),
        bias: numbers(labels),
        task_embedding: Some(numbers(hidden)),
        ..HeadParts::default()
    };
    Ok(Install {
        key: TaskKey { tenant: TenantName::default_tenant(), task: format!("group/task{number}").parse()? },
        version: None,
        head: Arc::new(Head::new(HeadKind::Classification, hidden, parts)?),
        encoder: Digest::of(b"encoder"),
        forced: false,
        aliases: vec![Alias::live()],
    })
}
