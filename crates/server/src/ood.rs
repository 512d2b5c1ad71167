//! `ood`: what a bundle's heads need to tell how far a text lies from their training text, and how well they then do.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use deberta::{Device, FastTokenizer, Kernels, LoadOptions, Precision};
use engine::{EngineParts, Model, ModelError, Tokenizer};
use registry::Bundle;
use server::comparison;
use server::far_text::{FarText, RowCounts, measure};

use crate::import::widths;
use crate::telemetry::say;

type Failure = Box<dyn Error + Send + Sync>;

/// Make the statistics of out-of-distribution scores from training text, and judge them against texts of other tasks
#[derive(Debug, Args)]
pub(crate) struct MeasureOod {
    /// Bundle whose heads are measured
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    /// Folder with train/ and validation/: JSON lines in TASK.jsonl, with __ for each / in a task's name
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Training rows of each task, spread evenly over its file
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    training_rows: usize,
    /// Validation rows of each task that count as its own texts
    #[arg(long, value_name = "N", default_value_t = 300)]
    own_rows: usize,
    /// Validation rows of every other task that count as texts of other tasks
    #[arg(long, value_name = "N", default_value_t = 10)]
    rows_of_each_other: usize,
    /// Element type of the encoder
    #[arg(long, default_value = "fp32")]
    dtype: Precision,
    /// Where the encoder runs
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Threads of the encoder on the CPU; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Write statistics and figures into the heads' manifests
    #[arg(long)]
    record: bool,
}

impl MeasureOod {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let bundle = Bundle::open(&self.bundle)?;
        let widths = widths(&bundle)?;
        let counts =
            RowCounts { training: self.training_rows, own: self.own_rows, of_each_other: self.rows_of_each_other };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        say("| task | own texts told from other tasks' (AUROC) | own | others | training vectors |");
        say("| --- | ---: | ---: | ---: | ---: |");
        let told = |far_text: &FarText| {
            let FarText { task, statistics, auroc, own, others } = far_text;
            say(&format!("| `{task}` | {auroc:.3} | {own} | {others} | {} |", statistics.vectors()));
            if !self.record {
                return Ok(());
            }
            // Four digits are more than a few hundred texts tell.
            let auroc = Some(*auroc).filter(|auroc| auroc.is_finite()).map(|auroc| (auroc * 1e4).round() / 1e4);
            bundle.record_ood(task, Arc::clone(statistics), auroc)
        };
        let parts = self.engine_parts(&bundle)?;
        let measured = runtime.block_on(measure(parts, (&bundle, widths), &self.data, counts, told))?;
        let mean = measured.iter().map(|far_text| far_text.auroc).sum::<f64>() / measured.len() as f64;
        say(&format!("\nmean {mean:.3} over {} tasks", measured.len()));
        if self.record {
            say(&format!("recorded in the heads of {}", bundle.dir().display()));
        }
        Ok(())
    }

    fn engine_parts(&self, bundle: &Bundle) -> Result<EngineParts, Failure> {
        let encoder_dir = bundle.encoder_dir();
        let options = LoadOptions {
            encoder_digest: bundle.encoder_digest()?.to_string(),
            device: self.device,
            precision: self.dtype,
            threads: self.threads,
            kernels: Kernels::Auto,
        };
        let tokenizer: Arc<dyn Tokenizer> = Arc::new(FastTokenizer::open(&encoder_dir, None)?);
        Ok(EngineParts {
            factory: Box::new(move || {
                let model = deberta::load(&encoder_dir, options.clone());
                let model = model.map_err(|error| ModelError::Load(error.to_string()))?;
                Ok(Box::new(model) as Box<dyn Model>)
            }),
            replicas: 1,
            tokenizer,
            limits: comparison::limits(),
        })
    }
}
