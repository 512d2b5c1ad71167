//! `bench`: how long the encoder takes by batch and length, and what mixed lengths cost; or, driven by another program,
//! how long it takes over whatever that one asks.

mod adapters;
mod drive;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use deberta::{Deberta, Device, Kernels, LoadOptions, Precision};
use engine::{Model, Reads, Row, Tokens};
use registry::Bundle;
use tokio::time::Instant;

use crate::synth::PresetName;
use crate::telemetry::say;

type Failure = Box<dyn Error + Send + Sync>;

/// Batch and length of the shapes measured.
const SHAPES: [(usize, usize); 6] = [(1, 16), (1, 64), (1, 128), (8, 64), (8, 128), (8, 512)];
const SEED: u64 = 20_251_123;
const MIXED_ROWS: usize = 256;

/// Measure the encoder: medians over repeated runs of fixed shapes, from a fixed seed
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Bundle whose encoder is measured
    #[arg(long, value_name = "DIR", conflicts_with = "preset")]
    bundle: Option<PathBuf>,
    /// Measure random weights of this geometry instead: tiny, xsmall, small, base, large
    #[arg(long, value_name = "NAME")]
    preset: Option<PresetName>,
    /// Where the encoder runs
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Element type of the encoder
    #[arg(long, default_value = "fp32")]
    dtype: Precision,
    /// Threads of the encoder on the CPU; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Whose kernels run: auto, native (CPU only), avx2 (as without AVX-512) or libtorch
    #[arg(long, default_value = "auto")]
    kernels: Kernels,
    /// Seconds spent on each shape
    #[arg(long, value_name = "S", default_value_t = 3)]
    seconds: u64,
    /// Measure what another program asks, in JSON lines from standard input to standard output
    #[arg(long, conflicts_with = "seconds")]
    drive: bool,
    /// Measure instead what rows with a LoRA adapter of this rank at every linear layer add: at every other row, and at all
    #[arg(long, value_name = "RANK", conflicts_with_all = ["drive", "profile"])]
    adapter_rank: Option<usize>,
    /// Show where the time of each shape goes, stage by stage
    #[arg(long, conflicts_with = "drive")]
    profile: bool,
}

impl Bench {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let scratch = tempfile::tempdir()?;
        let bundle = match (&self.bundle, self.preset) {
            (Some(bundle), _) => bundle.clone(),
            (None, preset) => crate::synth::bundle(scratch.path(), preset.unwrap_or_default(), 1)?,
        };
        let encoder_dir = Bundle::open(&bundle)?.encoder_dir();
        let options = LoadOptions {
            encoder_digest: String::new(),
            device: self.device,
            precision: self.dtype,
            threads: self.threads,
            kernels: self.kernels,
        };
        let loading = Instant::now();
        let mut model = deberta::load(&encoder_dir, options)?;
        if self.drive {
            let peak = || Ok(deberta::peak(self.dtype, self.threads)? / 1e9);
            return drive::drive(&mut model, peak, std::io::stdin().lock(), std::io::stdout().lock());
        }
        let info = model.info().clone();
        say(&format!(
            "hidden {}, {} on {}, threads {}, seed {SEED}, loaded in {:.2} s",
            info.hidden,
            info.dtype,
            info.device,
            if self.threads == 0 { "one a core".to_owned() } else { self.threads.to_string() },
            loading.elapsed().as_secs_f64()
        ));
        let patience = Duration::from_secs(self.seconds);
        if let Some(rank) = self.adapter_rank {
            let adapter = adapters::random_adapter(&encoder_dir, rank)?;
            say(&format!("{:>6} {:>6} {:>10} {:>19} {:>19}", "batch", "tokens", "without ms", "half ms", "all ms"));
            for (batch, length) in SHAPES {
                let rows = random_rows(std::iter::repeat_n(length, batch), info.vocabulary);
                let medians = adapters::compare(&mut model, &rows, &adapter, patience)?;
                say(&adapters::line(batch, length, medians));
            }
            return Ok(());
        }
        say(&format!(
            "{:>6} {:>6} {:>10} {:>10} {:>9} {:>10} {:>5}",
            "batch", "tokens", "median ms", "best ms", "rows/s", "tokens/s", "runs"
        ));
        for (batch, length) in SHAPES {
            let rows = random_rows(std::iter::repeat_n(length, batch), info.vocabulary);
            self.tell(&mut model, (&batch.to_string(), &length.to_string()), (&[rows], patience))?;
        }
        let lengths: Vec<usize> = mixed_lengths().collect();
        let rows = random_rows(lengths.iter().copied(), info.vocabulary);
        let arrivals: Vec<Vec<Row>> = rows.chunks(32).map(<[Row]>::to_vec).collect();
        self.tell(&mut model, ("32", "5-200"), (&arrivals, patience))?;
        let padded: usize = lengths.chunks(32).map(|batch| batch.len() * batch.iter().max().unwrap_or(&0)).sum();
        let real: usize = lengths.iter().sum();
        say(&format!(
            "mixed lengths: {MIXED_ROWS} rows in batches of 32 as they come; padding to the longest row would add {:.0} % tokens",
            100.0 * (padded as f64 / real as f64 - 1.0)
        ));
        Ok(())
    }

    /// Measures a workload and says what came out.
    fn tell(
        &self,
        model: &mut Deberta,
        (batch, length): (&str, &str),
        (batches, patience): (&[Vec<Row>], Duration),
    ) -> Result<(), Failure> {
        let before = model.profile();
        let measured = measure(model, batches, patience)?;
        say(&line(batch, length, measured));
        if self.profile {
            say(&format!("{:>13} {}", "", shares(&before, &model.profile())));
        }
        Ok(())
    }
}

/// The shares of the stages in the time between two profiles, and that time.
fn shares(before: &[(String, Duration)], after: &[(String, Duration)]) -> String {
    let spent: Vec<(&str, f64)> = after
        .iter()
        .zip(before)
        .map(|((stage, after), (_, before))| (stage.as_str(), (*after - *before).as_secs_f64()))
        .collect();
    let all: f64 = spent.iter().map(|(_, seconds)| seconds).sum();
    let shares = spent.iter().map(|(stage, seconds)| format!("{stage} {:.1} %", 100.0 * seconds / all.max(1e-9)));
    shares.collect::<Vec<_>>().join(", ")
}

/// What was measured of one workload.
struct Measured {
    rows: usize,
    tokens: usize,
    times: Vec<Duration>,
}

fn measure(model: &mut impl Model, batches: &[Vec<Row>], patience: Duration) -> Result<Measured, Failure> {
    let mut pass = || -> Result<Duration, Failure> {
        let started = Instant::now();
        for batch in batches {
            model.forward(batch)?;
        }
        Ok(started.elapsed())
    };
    pass()?;
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || started.elapsed() < patience {
        times.push(pass()?);
    }
    times.sort_unstable();
    let rows: Vec<&Row> = batches.iter().flatten().collect();
    Ok(Measured { rows: rows.len(), tokens: rows.iter().map(|row| row.tokens.len()).sum(), times })
}

fn line(batch: &str, length: &str, measured: Measured) -> String {
    let at = |index: usize| measured.times.get(index).map_or(0.0, Duration::as_secs_f64);
    let median = at(measured.times.len() / 2);
    format!(
        "{batch:>6} {length:>6} {:>10.2} {:>10.2} {:>9.1} {:>10.0} {:>5}",
        median * 1e3,
        at(0) * 1e3,
        measured.rows as f64 / median,
        measured.tokens as f64 / median,
        measured.times.len()
    )
}

fn random_rows(lengths: impl Iterator<Item = usize>, vocabulary: usize) -> Vec<Row> {
    let mut random = Random::new();
    let row = |length: usize| {
        let ids = (0..length).map(|_| (random.next() % vocabulary as u64) as u32).collect();
        let tokens = Tokens { ids, type_ids: vec![0; length], origins: vec![None; length], cut: None };
        let reads = Reads { cls: true, ..Reads::default() };
        Row { tokens: Arc::new(tokens), task_embedding: None, adapter: None, reads }
    };
    lengths.map(row).collect()
}

/// Lengths from 5 to 200, most of them short.
fn mixed_lengths() -> impl Iterator<Item = usize> {
    let mut random = Random::new();
    (0..MIXED_ROWS).map(move |_| {
        let uniform = random.unit();
        5 + (195.0 * uniform * uniform) as usize
    })
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(SEED)
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
