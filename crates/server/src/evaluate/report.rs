//! What an evaluation found, as a message.

use api::v1;
use tokio::time::Instant;

use super::disagreements::Disagreement;
use super::judgement::{Compared, Judged, JudgedFigure, Judgement};

/// The report; `stored` is the version that keeps what was fitted, beside the digest of the rows.
pub(super) fn report(
    judgement: Judgement,
    (stored, data_digest): (Option<u64>, String),
    started: Instant,
) -> v1::EvaluationReport {
    let Judgement { first, second, comparison, fitted, rows, skipped, warnings } = judgement;
    v1::EvaluationReport {
        judged: Some(version(first)),
        compared: second.map(version),
        comparison: comparison.map(compared),
        temperature: fitted.as_ref().and_then(|fitted| fitted.temperature),
        thresholds: fitted.map(|fitted| fitted.thresholds).unwrap_or_default(),
        stored_version: stored,
        rows: rows as u64,
        skipped_rows: skipped,
        data_digest,
        elapsed_millis: started.elapsed().as_millis() as u64,
        warnings,
    }
}

fn version(judged: Judged) -> v1::VersionReport {
    let label = |figures: judging::LabelFigures| v1::LabelReport {
        label: figures.label,
        support: figures.support,
        precision: figures.precision,
        recall: figures.recall,
        f1: figures.f1,
    };
    let bin = |bin: judging::Bin| v1::CalibrationBin {
        low: bin.low,
        high: bin.high,
        answers: bin.answers,
        mean_score: bin.mean_score,
        accuracy: bin.accuracy,
    };
    v1::VersionReport {
        version: judged.served.version.number(),
        head_digest: judged.served.digest.clone(),
        metrics: judged.figures.into_iter().map(metric).collect(),
        labels: judged.labels.into_iter().map(label).collect(),
        confusion: judged.confusion.into_iter().map(|counts| v1::ConfusionRow { counts }).collect(),
        calibration: judged.calibration.into_iter().map(bin).collect(),
    }
}

fn compared(compared: Compared) -> v1::Comparison {
    let disagreement = |found: Disagreement| v1::Disagreement {
        line: found.line,
        expected: found.expected,
        judged: found.first,
        compared: found.second,
    };
    v1::Comparison {
        test: compared.test.to_owned(),
        p_value: compared.p_value,
        difference: compared.difference.map(metric),
        disagreements: compared.disagreements.into_iter().map(disagreement).collect(),
        disagreement_total: compared.disagreement_total as u64,
    }
}

fn metric(figure: JudgedFigure) -> v1::Metric {
    v1::Metric {
        name: figure.name,
        value: figure.value,
        low: figure.interval.map(|interval| interval.low),
        high: figure.interval.map(|interval| interval.high),
    }
}
