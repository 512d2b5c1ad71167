//! `import`: a published checkpoint becomes a bundle, and its heads versions in a data directory's registry.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::{HubSettings, ImportOptions, Jail, Report, Source};
use clap::Args;
use engine::{Alias, TaskKey, TaskName, TenantName};
use registry::{Bundle, Change, EncoderWidths, Install, OpenOptions, Registry};

use crate::config::{BUNDLE_FOLDER, REGISTRY_FOLDER};
use crate::telemetry::say;

/// The hidden subcommand under which this program reads pickles, and does nothing else.
const READ_PICKLE: &str = "read-pickle";
const INCOMING_FOLDER: &str = "bundle.incoming";
const JAIL_PROCESSOR: Duration = Duration::from_secs(120);
const JAIL_PATIENCE: Duration = Duration::from_secs(300);

type Failure = Box<dyn Error + Send + Sync>;

/// Import a checkpoint: one file with many heads, a model with adapters, a fine-tuned model, or a bare encoder
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Folder, or hub id `org/name[@revision]`
    source: String,
    /// Folder or hub id of the adapters, where they are apart from the model
    #[arg(long, value_name = "SOURCE")]
    adapters: Option<String>,
    /// Data folder of the server that shall serve it; the server must not be running
    #[arg(long, env = "HEADWATER_DATA", value_name = "DIR", required_unless_present = "out")]
    data: Option<PathBuf>,
    /// Write just a bundle here instead
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    out: Option<PathBuf>,
    /// Task name of a fine-tuned model's own classifier
    #[arg(long, value_name = "TASK")]
    task: Option<TaskName>,
    /// Table of task kinds that overrides the built-in catalogue
    #[arg(long, value_name = "FILE")]
    kinds: Option<PathBuf>,
    /// Replace the encoder that the data folder holds; heads of the old one stay stored and are not served
    #[arg(long, requires = "data")]
    replace_encoder: bool,
    /// Memory that reading a pickle may take, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4_096)]
    pickle_memory_mib: u64,
}

/// How this program starts itself to read a pickle.
pub(crate) fn jail(memory_mib: u64) -> std::io::Result<Jail> {
    Ok(Jail {
        program: std::env::current_exe()?,
        arguments: vec![READ_PICKLE.into()],
        memory_bytes: memory_mib << 20,
        processor: JAIL_PROCESSOR,
        patience: JAIL_PATIENCE,
    })
}

/// Reads a pickle, if that is what this process was started for, and says how it went.
pub(crate) fn read_pickle_if_asked() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let asked = words.next().is_some_and(|word| word == READ_PICKLE);
    asked.then(|| checkpoint::jail::child_main(&words.collect::<Vec<_>>()))
}

impl Import {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match (&self.out, &self.data) {
            (Some(out), _) => {
                let report = self.import_into(out.clone())?;
                say(&format!("{report}\nbundle written to {}", out.display()));
                Ok(())
            }
            (None, Some(data)) => self.import_for_serving(data),
            (None, None) => Err("either --data or --out is needed".into()),
        }
    }

    fn import_into(&self, bundle: PathBuf) -> Result<Report, Failure> {
        let options = ImportOptions {
            source: self.source.parse()?,
            adapters: self.adapters.as_deref().map(str::parse::<Source>).transpose()?,
            task: self.task.clone(),
            kinds_file: self.kinds.clone(),
            bundle,
            jail: jail(self.pickle_memory_mib)?,
            hub: HubSettings::from_environment(),
        };
        Ok(checkpoint::import(&options)?)
    }

    fn import_for_serving(&self, data: &Path) -> Result<(), Failure> {
        fs::create_dir_all(data)?;
        // Opened first: a server that runs on this folder refuses the import before any work.
        let mut registry = Registry::open(&data.join(REGISTRY_FOLDER), &OpenOptions::SERVER)?;
        let incoming = Incoming::new(data.join(INCOMING_FOLDER))?;
        let report = self.import_into(incoming.folder.clone())?;
        let place = data.join(BUNDLE_FOLDER);
        let held = place.exists().then(|| Bundle::open(&place)?.encoder_digest()).transpose()?;
        let folder = match held {
            Some(held) if held == report.encoder => incoming.folder.clone(),
            Some(held) if !self.replace_encoder => {
                let message = format!(
                    "{} holds encoder {held}, this checkpoint has {}: choose another --data, or --replace-encoder",
                    data.display(),
                    report.encoder
                );
                return Err(message.into());
            }
            Some(_) => {
                fs::remove_dir_all(&place)?;
                fs::rename(&incoming.folder, &place)?;
                place
            }
            None => {
                fs::rename(&incoming.folder, &place)?;
                place
            }
        };
        let installs = installs(&folder)?;
        let n_heads = installs.len();
        let changed = registry.commit(Change::InstallMany(installs))?.changed;
        registry.close()?;
        say(&report.to_string());
        let outcome = if changed { "installed as live versions" } else { "were there already" };
        say(&format!("{n_heads} heads {outcome} in {}", data.display()));
        Ok(())
    }
}

/// A bundle on its way in; what is left of it goes when this is dropped.
struct Incoming {
    folder: PathBuf,
}

impl Incoming {
    fn new(folder: PathBuf) -> std::io::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        Ok(Self { folder })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Absent where it was renamed into place; whatever else remains is removed by the next import.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn installs(folder: &Path) -> Result<Vec<Install>, Failure> {
    let bundle = Bundle::open(folder)?;
    let widths = widths(&bundle)?;
    let install = |task: &TaskName| {
        let (manifest, head) = bundle.read_head(task, widths)?;
        Ok(Install {
            key: TaskKey { tenant: TenantName::default_tenant(), task: task.clone() },
            version: None,
            head: Arc::new(head),
            encoder: manifest.encoder,
            forced: false,
            aliases: vec![Alias::live()],
        })
    };
    bundle.heads().iter().map(install).collect()
}

/// The widths that the bundle's `config.json` gives; the import has checked the file already.
pub(crate) fn widths(bundle: &Bundle) -> Result<EncoderWidths, Failure> {
    let config = fs::read(bundle.encoder_dir().join("config.json"))?;
    let config: serde_json::Value = serde_json::from_slice(&config)?;
    let size =
        |key: &str| config.get(key).and_then(serde_json::Value::as_u64).and_then(|size| usize::try_from(size).ok());
    let hidden = size("hidden_size").ok_or("config.json has no hidden_size")?;
    Ok(EncoderWidths { hidden, embedding: size("embedding_size").unwrap_or(hidden) })
}
