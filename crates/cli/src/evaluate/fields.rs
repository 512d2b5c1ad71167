//! An evaluation as a JSON object: the shape that programs rely on.

use api::v1::{CalibrationBin, Comparison, Disagreement, EvaluationReport, LabelReport, Metric, Task, VersionReport};
use serde_json::{Map, Value, json};

use super::call::Finished;
use crate::tasks::kind_name;

/// One line of output for one task.
pub(crate) fn object(task: &Task, finished: &Finished) -> Value {
    let Finished { report, bad_rows } = finished;
    let mut object = Map::new();
    object.insert("task".to_owned(), json!(task.name));
    object.insert("kind".to_owned(), json!(kind_name(task.kind())));
    if let Some(judged) = &report.judged {
        object.extend(version(judged));
    }
    object.extend(of_rows(report));
    object.insert("compared".to_owned(), report.compared.as_ref().map_or(Value::Null, |other| version(other).into()));
    object.insert("comparison".to_owned(), report.comparison.as_ref().map_or(Value::Null, comparison));
    object.insert("temperature".to_owned(), json!(report.temperature));
    object.insert("thresholds".to_owned(), json!(report.thresholds));
    object.insert("stored_version".to_owned(), json!(report.stored_version));
    let bad = bad_rows.iter().map(|bad| json!({"line": bad.line, "field": bad.field, "reason": bad.reason}));
    object.insert("bad_rows".to_owned(), bad.collect());
    object.into()
}

fn of_rows(report: &EvaluationReport) -> Map<String, Value> {
    let fields = [
        ("rows", json!(report.rows)),
        ("skipped_rows", json!(report.skipped_rows)),
        ("data_digest", json!(report.data_digest)),
        ("elapsed_millis", json!(report.elapsed_millis)),
        ("warnings", json!(report.warnings)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn version(report: &VersionReport) -> Map<String, Value> {
    let label = |label: &LabelReport| {
        json!({
            "label": label.label,
            "support": label.support,
            "precision": label.precision,
            "recall": label.recall,
            "f1": label.f1,
        })
    };
    let bin = |bin: &CalibrationBin| {
        json!({
            "low": bin.low,
            "high": bin.high,
            "answers": bin.answers,
            "mean_score": bin.mean_score,
            "accuracy": bin.accuracy,
        })
    };
    let metrics: Map<String, Value> =
        report.metrics.iter().map(|figure| (figure.name.clone(), metric(figure))).collect();
    let fields = [
        ("version", json!(report.version)),
        ("head_digest", json!(report.head_digest)),
        ("metrics", metrics.into()),
        ("labels", report.labels.iter().map(label).collect()),
        ("confusion", report.confusion.iter().map(|row| json!(row.counts)).collect()),
        ("calibration", report.calibration.iter().map(bin).collect()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn metric(metric: &Metric) -> Value {
    json!({"value": metric.value, "low": metric.low, "high": metric.high})
}

fn comparison(comparison: &Comparison) -> Value {
    let disagreement = |found: &Disagreement| {
        json!({
            "line": found.line,
            "expected": found.expected,
            "judged": found.judged,
            "compared": found.compared,
        })
    };
    let difference = comparison.difference.as_ref().map(|difference| {
        let mut fields = metric(difference);
        fields["name"] = json!(difference.name);
        fields
    });
    json!({
        "test": comparison.test,
        "p_value": comparison.p_value,
        "difference": difference,
        "disagreement_total": comparison.disagreement_total,
        "disagreements": comparison.disagreements.iter().map(disagreement).collect::<Vec<_>>(),
    })
}
