//! Killed at random moments amid changes of heads, tenants and tokens, again and again on the same directory: nothing
//! acknowledged is lost, nothing is torn.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::effort::{effort, found};
use crate::model;
use crate::script::OPTIONS;
use crate::victim::{self, scratch};

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("killed_at_random_moments_it_keeps_what_it_acknowledged", keeps_what_it_acknowledged)]
}

fn keeps_what_it_acknowledged() -> Result<(), Failed> {
    let rounds = effort(30, 200);
    let scratch = scratch();
    let dir = scratch.path().join("data");
    let mut acknowledged = 0;
    let mut reached = 0;
    let mut most_tokens = 0;
    for round in 0..rounds {
        let seed = round.to_string();
        let mut victim = victim::command(&["endless", dir.to_str().unwrap(), &seed]).stdout(Stdio::piped()).spawn()?;
        let _doomed = victim::doom(&victim);
        let mut lines = BufReader::new(victim.stdout.take().unwrap());
        let mut output = String::new();
        if round % 3 > 0 {
            // Two in three are killed amid their changes, the third while it opens.
            lines.read_line(&mut output)?;
        }
        std::thread::sleep(Duration::from_millis(round * 37 % 120));
        victim.kill()?;
        lines.read_to_string(&mut output)?;
        victim.wait()?;
        let registry = victim::open(&dir, &OPTIONS).map_err(|error| format!("round {round}: {error}"))?;
        let found = registry.generation();
        let fingerprint = model::fingerprint(&registry);
        if found < reached || !registry.boot_report().damaged.is_empty() {
            return Err(format!("round {round}: generation {found} after {reached}, or damage").into());
        }
        if let Some((generation, expected)) = model::last_acknowledged(&output) {
            if found < generation || found > generation + 1 || (found == generation && fingerprint != expected) {
                return Err(format!("round {round}: acknowledged {generation}, found {found}").into());
            }
            acknowledged += output.lines().count();
        }
        reached = found;
        most_tokens = most_tokens.max(registry.tokens().count());
        registry.close()?;
    }
    found(&format!("{rounds} kills, {acknowledged} acknowledgements, 0 lost, 0 torn"));
    match (acknowledged, most_tokens) {
        (0, _) => Err("no change was ever acknowledged".into()),
        (_, 0) => Err("no token was ever made".into()),
        _ => Ok(()),
    }
}
