//! What libtorch reads from the environment before `main`: how its threads wait, and what it caches.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Settings and the values they get where an operator has chosen none.
const SETTINGS: [(&str, &str); 3] = [
    // A spinning thread takes the core from the one it waits for as soon as anything else wants to run.
    ("OMP_WAIT_POLICY", "PASSIVE"),
    // A kernel is kept for every shape seen; the default keeps so many that memory grows with the variety of texts.
    ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256"),
    // cuDNN makes a plan for every new shape of attention, which takes longer than the attention.
    ("TORCH_CUDNN_SDPA_DEPRIORITIZED", "1"),
];

/// Starts this program anew, in place, with every setting made. Returns where all of them are made already, and with
/// the reason where the system refuses.
pub(crate) fn settle() -> Option<std::io::Error> {
    let missing: Vec<_> = SETTINGS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
    if missing.is_empty() {
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
    Some(anew.args(words).envs(missing).exec())
}
