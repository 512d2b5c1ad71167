//! How libtorch's threads wait: set in the environment, which they read before `main`.

use std::os::unix::process::CommandExt;
use std::process::Command;

const WAIT_POLICY: &str = "OMP_WAIT_POLICY";
const SPIN_COUNT: &str = "GOMP_SPINCOUNT";

/// Starts this program anew, in place, with threads that sleep where they would spin, unless an operator has chosen.
/// A spinning thread takes the core from the one it waits for as soon as anything else wants to run. Returns the
/// reason where the system refuses.
pub(crate) fn wait_asleep() -> Option<std::io::Error> {
    if [WAIT_POLICY, SPIN_COUNT].iter().any(|name| std::env::var_os(name).is_some()) {
        return None;
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Some(error),
    };
    let mut words = std::env::args_os();
    let mut anew = Command::new(program);
    if let Some(name) = words.next() {
        anew.arg0(name);
    }
    Some(anew.args(words).env(WAIT_POLICY, "PASSIVE").exec())
}
