//! Durability: what must hold when a process dies at any moment, files are damaged, or the disk is full.
//!
//! One binary that is its own victim: called with `--script`, it runs changes against a data directory and prints what
//! was acknowledged; called without, it runs the tests, which start it again and kill it. Tests that need something
//! this machine may refuse (ptrace, mount, another user) are reported as ignored, with the reason.

#![expect(clippy::disallowed_types, reason = "victims are processes: what they take is real time")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "the script acknowledges on standard output; tests print what they counted")]

mod effort;
mod random;
mod script;
mod model;
mod victim;
mod kill_points;
mod strace;
mod preload;
mod failing_calls;
mod bare_store;
mod recorded_calls;
mod disk_model;
mod power_loss;
mod random_kill;
mod junk;
mod damage;
mod second_process;
mod disk;
mod wear;
mod exports;
mod many_heads;
mod clock;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(words) = script::words(&arguments) {
        script::run(&words);
        return;
    }
    let groups: [fn() -> Vec<Trial>; 14] = [
        strace::trials,
        preload::trials,
        failing_calls::trials,
        bare_store::trials,
        power_loss::trials,
        random_kill::trials,
        junk::trials,
        damage::trials,
        second_process::trials,
        disk::trials,
        wear::trials,
        exports::trials,
        many_heads::trials,
        clock::trials,
    ];
    let trials = groups.into_iter().flat_map(|group| group()).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
