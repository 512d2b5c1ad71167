//! `registry`: look after a data directory while no server runs on it.

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use registry::tools::{collect_garbage, export, import, rebuild, stats, verify};
use registry::{OpenOptions, RegistryStats};

use crate::config::REGISTRY_FOLDER;
use crate::telemetry::say;

/// Verify, count, export, import, rebuild or sweep the registry of a data folder
#[derive(Debug, Args)]
pub(crate) struct RegistryTool {
    /// The server's data folder
    #[arg(long, env = "HEADWATER_DATA", value_name = "DIR")]
    data: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check every record and every object; changes nothing
    Verify,
    /// Counts and bytes; changes nothing
    Stats,
    /// Write everything to a new file, as one generation
    Export {
        /// The file, a tar archive; nothing may be there
        out: PathBuf,
    },
    /// Make an empty data folder's registry from an export or a backup
    #[command(alias = "restore")]
    Import {
        /// The archive, or the folder that it unpacks to
        from: PathBuf,
    },
    /// Make the record store anew from the journal; the old one stays beside it
    Rebuild,
    /// Remove stored objects that no version needs
    Gc,
}

impl RegistryTool {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let dir = self.data.join(REGISTRY_FOLDER);
        match self.action {
            Action::Verify => {
                let report = verify(&dir)?;
                say(&format!(
                    "generation {}: {} heads are whole, {} damaged, {} unused objects",
                    report.generation,
                    report.heads,
                    report.damaged.len(),
                    report.unused_objects
                ));
                let damaged = report.damaged.iter().map(|head| format!("{head:?}"));
                let wrong: Vec<_> = damaged.chain(report.problems).collect();
                if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
            }
            Action::Stats => {
                say(&in_lines(&stats(&dir)?));
                Ok(())
            }
            Action::Export { out } => {
                let archived = export(&dir, &out)?;
                say(&format!(
                    "generation {} written to {}, {} objects",
                    archived.generation,
                    out.display(),
                    archived.objects
                ));
                match archived.left_out.len() {
                    0 => Ok(()),
                    damaged => Err(format!("{damaged} damaged objects are not in it").into()),
                }
            }
            Action::Import { from } => {
                std::fs::create_dir_all(&self.data)?;
                let report = import(&from, &dir, &OpenOptions::SERVER)?;
                say(&format!("{} heads imported, {} damaged", report.heads, report.damaged.len()));
                Ok(())
            }
            Action::Rebuild => {
                let report = rebuild(&dir, &OpenOptions::SERVER)?;
                say(&format!("{} heads found, {} damaged", report.heads, report.damaged.len()));
                Ok(())
            }
            Action::Gc => {
                let swept = collect_garbage(&dir, &OpenOptions::SERVER)?;
                say(&format!("{} files removed, {} bytes", swept.files, swept.bytes));
                Ok(())
            }
        }
    }
}

fn in_lines(stats: &RegistryStats) -> String {
    [
        format!("generation {}, {} changes remembered", stats.generation, stats.history),
        format!("{} versions of {} tasks of {} tenants", stats.versions, stats.tasks, stats.tenants),
        format!("{} versions damaged", stats.damaged),
        format!("{} records, {} bytes", stats.records, stats.record_bytes),
        format!("{} objects, {} bytes", stats.objects, stats.object_bytes),
        format!("{} of them unused, {} bytes", stats.unused_objects, stats.unused_bytes),
        format!("record store {} bytes, journal {} bytes", stats.store_bytes, stats.journal_bytes),
        format!("set aside {} bytes, free on the disk {} bytes", stats.set_aside_bytes, stats.free_bytes),
    ]
    .join("\n")
}
