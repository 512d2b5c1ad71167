//! `bench --adapter-rank`: what rows with adapters add to a batch, measured turn by turn with the same rows without any.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Adapter, LowRank, Model, Row, Site};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Failure, Random};

/// The part of `config.json` that an adapter must fit.
#[derive(Debug, Deserialize)]
struct Geometry {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
}

/// A random adapter of that rank at every site of every layer of the encoder in `encoder_dir`.
pub(super) fn random_adapter(encoder_dir: &Path, rank: usize) -> Result<Arc<Adapter>, Failure> {
    let geometry: Geometry = serde_json::from_slice(&std::fs::read(encoder_dir.join("config.json"))?)?;
    let (hidden, inner) = (geometry.hidden_size, geometry.intermediate_size);
    let mut random = Random::new();
    let mut numbers = |count: usize| (0..count).map(|_| ((random.unit() - 0.5) / 20.0) as f32).collect();
    let mut parts = BTreeMap::new();
    for layer in 0..geometry.num_hidden_layers {
        for site in Site::ALL {
            let (inputs, outputs) = match site {
                Site::Query | Site::Key | Site::Value | Site::AttentionOutput => (hidden, hidden),
                Site::Intermediate => (hidden, inner),
                Site::Output => (inner, hidden),
            };
            parts.insert((layer, site), LowRank::new(rank, numbers(rank * inputs), numbers(rank * outputs)));
        }
    }
    Ok(Arc::new(Adapter::new(hidden, parts, None)?))
}

/// Medians of `rows` without adapters, with one at every other row, and with one at every row: in milliseconds.
pub(super) fn compare(
    model: &mut impl Model,
    rows: &[Row],
    adapter: &Arc<Adapter>,
    patience: Duration,
) -> Result<[f64; 3], Failure> {
    let every = |step: usize| -> Vec<Row> {
        let carries = |index: usize| (index.is_multiple_of(step)).then(|| Arc::clone(adapter));
        rows.iter().enumerate().map(|(index, row)| Row { adapter: carries(index), ..row.clone() }).collect()
    };
    let batches = [rows.to_vec(), every(2), every(1)];
    for batch in &batches {
        model.forward(batch)?;
    }
    let started = Instant::now();
    let mut times: [Vec<f64>; 3] = Default::default();
    while times[0].len() < 5 || started.elapsed() < 3 * patience {
        for (batch, times) in batches.iter().zip(&mut times) {
            let began = Instant::now();
            model.forward(batch)?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}

/// What came out, as a line.
pub(super) fn line(batch: usize, length: usize, [without, half, all]: [f64; 3]) -> String {
    let more = |time: f64| 100.0 * (time / without - 1.0);
    format!(
        "{batch:>6} {length:>6} {without:>10.2} {half:>10.2} {:>+6.1} % {all:>10.2} {:>+6.1} %",
        more(half),
        more(all)
    )
}
