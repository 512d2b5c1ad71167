//! `import-head`: the classifier of a fine-tuned model becomes one head over an encoder that is there already.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::{HeadOptions, HubSettings, ImportedHead};
use clap::Args;
use engine::{Alias, HeadKind, TaskKey, TaskName, TenantName};
use registry::{Bundle, Change, Digest, HeadFolder, Install, OpenOptions, Registry};

use crate::config::{BUNDLE_FOLDER, REGISTRY_FOLDER};
use crate::import::jail;
use crate::telemetry::say;

type Failure = Box<dyn Error + Send + Sync>;

/// Import one head: the classifier of a model that was fine-tuned over the encoder served here
#[derive(Debug, Args)]
pub(crate) struct ImportHead {
    /// Folder of the fine-tuned model, or hub id `org/name[@revision]`
    source: String,
    /// Data folder whose encoder it is for; without --out the head becomes its live version, and no server may run on it
    #[arg(long, env = "HEADWATER_DATA", value_name = "DIR", required_unless_present = "bundle")]
    data: Option<PathBuf>,
    /// Bundle whose encoder it is for, instead of the one in the data folder
    #[arg(long, value_name = "DIR", requires = "out")]
    bundle: Option<PathBuf>,
    /// Write a head folder here, which `headwater heads install` takes
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Task name [default: the source's name]
    #[arg(long, value_name = "TASK")]
    task: Option<TaskName>,
    /// What the head answers with, such as multi_label [default: what the model's files say]
    #[arg(long, value_name = "KIND")]
    kind: Option<HeadKind>,
    /// Take what training changed of the encoder along as LoRA: from a PEFT adapter folder, or found by truncated singular
    /// value decomposition; rows of such a head cost more and are shared with no other
    #[arg(long)]
    lora: bool,
    /// Import the head also where biases, normalisations or embeddings were trained, which LoRA has no place for: these
    /// changes are left out and listed
    #[arg(long, requires = "lora")]
    leave_out_rest: bool,
    /// Highest rank of factors that must be found
    #[arg(long, value_name = "RANK", default_value_t = 16, requires = "lora", value_parser = clap::value_parser!(u16).range(1..=256))]
    rank: u16,
    /// Memory that reading a pickle may take, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4_096)]
    pickle_memory_mib: u64,
}

impl ImportHead {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if let Some(out) = &self.out {
            if std::fs::read_dir(out).is_ok_and(|mut files| files.next().is_some()) {
                return Err(format!("{} already holds files", out.display()).into());
            }
            let (imported, encoder) = self.import()?;
            HeadFolder::of_head(&imported.row.task, &imported.head, encoder)?.write(out)?;
            say(&format!("{imported}\nhead written to {}", out.display()));
            return Ok(());
        }
        let data = self.data.as_deref().ok_or("either --data or --out is needed")?;
        // Opened first: a server that runs on this folder refuses the import before any work.
        let mut registry = Registry::open(&data.join(REGISTRY_FOLDER), &OpenOptions::SERVER)?;
        let (imported, encoder) = self.import()?;
        say(&imported.to_string());
        let install = Install {
            key: TaskKey { tenant: TenantName::default_tenant(), task: imported.row.task },
            version: None,
            head: Arc::new(imported.head),
            encoder,
            forced: false,
            aliases: vec![Alias::live()],
        };
        let committed = registry.commit(Change::Install(install))?;
        registry.close()?;
        let version = committed.installed.first().map_or(0, |installed| installed.version.number());
        let outcome = if committed.changed { "is the live version" } else { "was there already" };
        say(&format!("version {version} {outcome} in {}", data.display()));
        Ok(())
    }

    fn import(&self) -> Result<(ImportedHead, Digest), Failure> {
        let bundle = match (&self.bundle, &self.data) {
            (Some(bundle), _) => bundle.clone(),
            (None, Some(data)) => data.join(BUNDLE_FOLDER),
            (None, None) => return Err("either --data or --bundle is needed".into()),
        };
        let bundle = Bundle::open(&bundle)?;
        let scratch = bundle.dir().parent().filter(|parent| !parent.as_os_str().is_empty());
        let options = HeadOptions {
            source: self.source.parse()?,
            encoder_dir: bundle.encoder_dir(),
            task: self.task.clone(),
            kind: self.kind,
            lora: self.lora.then_some(usize::from(self.rank)),
            leave_out_rest: self.leave_out_rest,
            scratch: scratch.unwrap_or(Path::new(".")).to_owned(),
            jail: jail(self.pickle_memory_mib)?,
            hub: HubSettings::from_environment(),
        };
        Ok((checkpoint::import_head(&options)?, bundle.encoder_digest()?))
    }
}
