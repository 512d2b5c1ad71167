//! `accuracy`: what reduced modes of an encoder change of its answers in fp32.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use deberta::{Device, FastTokenizer, Kernels, LoadOptions, Precision};
use engine::{EngineParts, Model, ModelError, Tokenizer};
use registry::{Accuracy, Bundle, Digest, MeasuredMode};
use serde_json::json;
use server::comparison::{self, Answers, Comparison, Questions, Source};
use tokio::time::Instant;

use crate::import::widths;
use crate::synth::PresetName;
use crate::telemetry::say;

type Failure = Box<dyn Error + Send + Sync>;

/// Compare the answers of reduced modes with those in fp32: differences of logits, and labels that change
#[derive(Debug, Args)]
pub(crate) struct MeasureAccuracy {
    /// Bundle whose encoder and heads are asked
    #[arg(long, value_name = "DIR", conflicts_with = "preset", required_unless_present = "preset")]
    bundle: Option<PathBuf>,
    /// Ask random weights of this geometry instead: tiny, xsmall, small, base, large
    #[arg(long, value_name = "NAME")]
    preset: Option<PresetName>,
    /// Heads of the random weights
    #[arg(long, value_name = "N", default_value_t = 444, requires = "preset")]
    tasks: usize,
    /// Folder of rows: JSON lines in TASK.jsonl, with __ for each / in a task's name [default: random texts]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Modes to compare with fp32
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "bf16,int8")]
    dtypes: Vec<Precision>,
    /// Rows asked of each task, spread evenly over its file
    #[arg(long, value_name = "N", default_value_t = 200)]
    rows_per_task: usize,
    /// Where the encoder runs
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Threads of the encoder on the CPU; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Write all figures here as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keep the figures in the bundle, as accuracy.toml: a server in that mode tells of them when it starts
    #[arg(long, requires = "data", requires = "bundle")]
    record: bool,
}

impl MeasureAccuracy {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let scratch = tempfile::tempdir()?;
        let folder = match (&self.bundle, self.preset) {
            (Some(bundle), _) => bundle.clone(),
            (None, preset) => crate::synth::bundle(scratch.path(), preset.unwrap_or_default(), self.tasks)?,
        };
        let bundle = Bundle::open(&folder)?;
        let encoder = bundle.encoder_digest()?;
        let tokenizer: Arc<dyn Tokenizer> = Arc::new(FastTokenizer::open(&bundle.encoder_dir(), None)?);
        let questions =
            Questions::new(&bundle, widths(&bundle)?, self.data.as_deref(), self.rows_per_task, tokenizer.as_ref())?;
        say(&sources(&questions));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ask = |dtype: Precision| -> Result<Answers, Failure> {
            let started = Instant::now();
            let parts = self.engine_parts(&bundle, encoder, dtype, &tokenizer);
            let answers = runtime.block_on(comparison::ask(parts, &questions))?;
            say(&format!("{dtype} loaded and asked in {:.1} s", started.elapsed().as_secs_f64()));
            Ok(answers)
        };
        let exact = ask(Precision::Fp32)?;
        let mut comparisons = Vec::new();
        for dtype in &self.dtypes {
            let comparison = comparison::compare(&questions, &exact, &ask(*dtype)?);
            say(&format!("\n{}", comparison::table(&comparison)));
            comparisons.push(comparison);
        }
        if let Some(out) = &self.out {
            let modes: Vec<_> = comparisons.iter().map(comparison::to_json).collect();
            let all = json!({"encoder": encoder.to_string(), "headwater": env!("CARGO_PKG_VERSION"), "modes": modes});
            fs::write(out, format!("{all:#}\n")).map_err(|error| format!("cannot write {}: {error}", out.display()))?;
        }
        if self.record {
            if questions.tasks_from(Source::Own) == 0 {
                return Err("nothing is recorded: no task has rows of its own in the data".into());
            }
            record(bundle.dir(), encoder, &comparisons)?;
        }
        Ok(())
    }

    fn engine_parts(
        &self,
        bundle: &Bundle,
        encoder: Digest,
        precision: Precision,
        tokenizer: &Arc<dyn Tokenizer>,
    ) -> EngineParts {
        let encoder_dir = bundle.encoder_dir();
        let options = LoadOptions {
            encoder_digest: encoder.to_string(),
            device: self.device,
            precision,
            threads: self.threads,
            kernels: Kernels::Auto,
        };
        EngineParts {
            factory: Box::new(move || {
                let model = deberta::load(&encoder_dir, options.clone());
                let model = model.map_err(|error| ModelError::Load(error.to_string()))?;
                Ok(Box::new(model) as Box<dyn Model>)
            }),
            replicas: 1,
            tokenizer: Arc::clone(tokenizer),
            limits: comparison::limits(),
        }
    }
}

/// What is asked, in a sentence or two.
fn sources(questions: &Questions) -> String {
    let (own, others, random) = (
        questions.tasks_from(Source::Own),
        questions.tasks_from(Source::OtherTasks),
        questions.tasks_from(Source::Random),
    );
    let mut text = format!("{} tasks, {own} of them on rows of their own", own + others + random);
    if others > 0 {
        text.push_str(&format!(", {others} on texts of other tasks"));
    }
    if random > 0 {
        text.push_str(&format!(", {random} on RANDOM pieces of the vocabulary from a fixed seed"));
        text.push_str(": differences tell of the arithmetic, flips tell little of real texts");
    }
    if questions.shared_texts() > 0 {
        let n_texts = questions.shared_texts();
        text.push_str(&format!("; the latter also all on the same {n_texts} texts, without task embeddings"));
    }
    text
}

/// Puts the figures into the bundle's file. Figures of another encoder are dropped; those of other modes stay.
fn record(dir: &Path, encoder: Digest, comparisons: &[Comparison]) -> Result<(), Failure> {
    let held = Accuracy::read(dir)?.filter(|held| held.encoder == encoder);
    let mut accuracy = held.unwrap_or(Accuracy { encoder, measured: Vec::new() });
    for comparison in comparisons {
        accuracy.put(measured(comparison));
    }
    accuracy.write(dir)?;
    say(&format!("\nrecorded in {}", dir.join(registry::ACCURACY_FILE).display()));
    Ok(())
}

fn measured(comparison: &Comparison) -> MeasuredMode {
    let total = comparison.total();
    // Six digits are more than a measurement means, and read well.
    let rounded = |number: f64| (number * 1e6).round() / 1e6;
    MeasuredMode {
        dtype: comparison.dtype.clone(),
        device: server::device_kind(&comparison.device).to_owned(),
        headwater: env!("CARGO_PKG_VERSION").to_owned(),
        rows: total.rows as u64,
        answers: total.answers as u64,
        flips: total.flips as u64,
        tokens: total.tokens as u64,
        token_flips: total.token_flips as u64,
        largest_difference: rounded(total.largest),
        mean_difference: rounded(total.mean()),
    }
}
