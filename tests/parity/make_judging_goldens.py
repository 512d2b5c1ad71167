"""Makes `tests/fixtures/judging/goldens.json` again: answers from a seed, and what scikit-learn, SciPy and seqeval say of them.

    python tests/parity/make_judging_goldens.py
"""

import json
import warnings
from pathlib import Path

import numpy as np
from scipy import optimize, special, stats
from seqeval.metrics import accuracy_score as word_accuracy
from seqeval.metrics import f1_score as span_f1
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as span_figures
from seqeval.scheme import IOB2
from sklearn import calibration, metrics

OUT = Path(__file__).resolve().parent.parent / "fixtures" / "judging" / "goldens.json"
BINS = 15


def some_logits(random, rows, labels, due, pull):
    """Logits that lean to the right label, short enough to read."""
    logits = random.normal(0, 1.5, (rows, labels))
    logits[np.arange(rows), due] += pull
    return np.round(logits, 3)


def calibration_of(scores, right):
    """The curve of scikit-learn, and the error that follows from it (Guo et al. 2017)."""
    accuracy, mean_score = calibration.calibration_curve(right, scores, n_bins=BINS)
    bins = np.clip(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], scores), 0, BINS - 1)
    answers = np.bincount(bins, minlength=BINS)
    filled = answers > 0
    error = np.sum(answers[filled] / len(scores) * np.abs(accuracy - mean_score))
    return {"answers": answers, "accuracy": accuracy, "mean_score": mean_score, "error": error}


def interval(figure, *columns):
    """SciPy's percentile interval of 95 % over rows."""
    found = stats.bootstrap(
        columns, figure, paired=True, vectorized=False, n_resamples=4000, method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    return [found.low, found.high]


def per_label(due, answered, labels):
    found = metrics.precision_recall_fscore_support(due, answered, labels=labels, zero_division=0)
    return [dict(zip(("precision", "recall", "f1", "support"), label, strict=True)) for label in zip(*found, strict=True)]


def classes(random):
    labels = ["a", "b", "c", "d", "never due", "never seen"]
    due = random.integers(0, 4, 120)
    logits = some_logits(random, 120, len(labels), due, 1.2)
    logits[:, 5] -= 20
    answered = logits.argmax(1)
    scores = special.softmax(logits, 1)
    return {
        "labels": labels,
        "due": due,
        "logits": logits,
        "figures": {
            "accuracy": metrics.accuracy_score(due, answered),
            "macro_f1": metrics.f1_score(due, answered, average="macro"),
            "micro_f1": metrics.f1_score(due, answered, average="micro"),
            "weighted_f1": metrics.f1_score(due, answered, average="weighted"),
            "matthews": metrics.matthews_corrcoef(due, answered),
            "log_loss": metrics.log_loss(due, scores, labels=range(len(labels))),
        },
        "intervals": {
            "accuracy": interval(metrics.accuracy_score, due, answered),
            "macro_f1": interval(lambda a, b: metrics.f1_score(a, b, average="macro"), due, answered),
            "matthews": interval(metrics.matthews_corrcoef, due, answered),
        },
        "per_label": per_label(due, answered, range(len(labels))),
        "confusion": metrics.confusion_matrix(due, answered, labels=range(len(labels))),
        "calibration": calibration_of(scores.max(1), due == answered),
        "temperature": optimize.minimize_scalar(
            lambda log_t: metrics.log_loss(due, special.softmax(logits / np.exp(log_t), 1), labels=range(len(labels))),
            bounds=(-3, 3), method="bounded", options={"xatol": 1e-10},
        ).x,
    }


def label_sets(random):
    labels = ["a", "b", "c", "never due", "never seen"]
    due = (random.random((90, 5)) < [0.5, 0.3, 0.15, 0, 0]).astype(int)
    logits = np.round(random.normal(-0.8, 1.3, due.shape) + 2.2 * due, 3)
    logits[:, 4] -= 20
    thresholds = [0.5, 0.35, 0.6, 0.5, 0.5]
    scores = special.expit(logits)
    answered = (scores >= thresholds).astype(int)

    def best_f1(label):
        precision, recall, _ = metrics.precision_recall_curve(due[:, label], scores[:, label])
        return np.max(np.divide(2 * precision * recall, precision + recall, out=np.zeros_like(precision), where=precision + recall > 0))

    def loss(log_t):
        z = logits / np.exp(log_t)
        return np.mean(np.logaddexp(0, np.where(due == 1, -z, z)))

    def f1(average):
        return metrics.f1_score(due, answered, average=average, zero_division=0)

    return {
        "labels": labels,
        "due": [np.flatnonzero(row) for row in due],
        "logits": logits,
        "thresholds": thresholds,
        "figures": {
            "micro_f1": f1("micro"),
            "macro_f1": f1("macro"),
            "weighted_f1": f1("weighted"),
            "samples_f1": f1("samples"),
            "subset_accuracy": metrics.accuracy_score(due, answered),
            "log_loss": np.mean([metrics.log_loss(due[:, n], scores[:, n], labels=[0, 1]) for n in range(5)]),
        },
        "per_label": per_label(due, answered, range(len(labels))),
        "calibration": calibration_of(scores.ravel(), due.ravel()),
        "temperature": optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}).x,
        "best_f1": [best_f1(label) for label in range(3)],
    }


def numbers(random):
    due = np.round(random.uniform(0, 5, 80) * 2) / 2
    answered = np.round(due + random.normal(0, 0.9, 80), 1)
    return {
        "due": due,
        "answered": answered,
        "figures": {
            "pearson": stats.pearsonr(due, answered).statistic,
            "spearman": stats.spearmanr(due, answered).statistic,
            "mean_absolute_error": metrics.mean_absolute_error(due, answered),
            "root_mean_squared_error": metrics.root_mean_squared_error(due, answered),
        },
        "intervals": {
            "pearson": interval(lambda a, b: stats.pearsonr(a, b).statistic, due, answered),
            "spearman": interval(lambda a, b: stats.spearmanr(a, b).statistic, due, answered),
        },
    }


def spans(random, labels, iob2):
    """Sentences whose tags follow no rule, so that every way to begin and end an entity occurs."""
    due = [random.integers(0, len(labels), random.integers(1, 14)) for _ in range(60)]
    logits = [some_logits(random, len(row), len(labels), row, 2.5) for row in due]
    answered = [row.argmax(1) for row in logits]
    words = np.concatenate(due)
    scores = special.softmax(np.concatenate(logits), 1)
    truth, answers = ([[labels[label] for label in row] for row in rows] for rows in (due, answered))
    kinds = sorted({label.split("-", 1)[1] for label in labels if "-" in label})
    found = span_figures(truth, answers, average=None, zero_division=0)
    figures = {
        "span_f1": span_f1(truth, answers, zero_division=0),
        "span_macro_f1": span_f1(truth, answers, average="macro", zero_division=0),
        "word_accuracy": word_accuracy(truth, answers),
        "log_loss": metrics.log_loss(words, scores, labels=range(len(labels))),
    }
    if iob2:
        figures["span_f1_strict"] = span_f1(truth, answers, mode="strict", scheme=IOB2, zero_division=0)
    return {
        "labels": labels,
        "due": due,
        "logits": logits,
        "figures": figures,
        "kinds": kinds,
        "per_kind": [dict(zip(("precision", "recall", "f1", "support"), kind, strict=True)) for kind in zip(*found, strict=True)],
        "calibration": calibration_of(scores.max(1), words == np.concatenate(answered)),
    }


def choices(random):
    widths = random.integers(2, 6, 50)
    due = [random.integers(0, width) for width in widths]
    logits = [some_logits(random, 1, width, [right], 1.0)[0] for width, right in zip(widths, due, strict=True)]
    scores = [special.softmax(row) for row in logits]
    right = np.array([row.argmax() == place for row, place in zip(logits, due, strict=True)])
    return {
        "due": due,
        "logits": logits,
        "figures": {
            "accuracy": right.mean(),
            "log_loss": -np.mean([np.log(row[place]) for row, place in zip(scores, due, strict=True)]),
        },
        "calibration": calibration_of(np.array([row.max() for row in scores]), right),
    }


def mcnemar():
    splits = [(0, 1), (1, 5), (3, 9), (10, 10), (12, 27), (40, 61), (150, 151), (220, 300), (2, 60)]
    return [{"split": split, "p": stats.binomtest(split[0], sum(split), 0.5).pvalue} for split in splits]


def plain(value):
    """NumPy's values as JSON's."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def main():
    warnings.simplefilter("ignore")
    random = np.random.default_rng(20251125)
    iob2 = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-creative-work", "I-creative-work"]
    iobes = ["O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC"]
    goldens = {
        "classes": classes(random),
        "label_sets": label_sets(random),
        "numbers": numbers(random),
        "iob2": spans(random, iob2, iob2=True),
        "iobes": spans(random, iobes, iob2=False),
        "choices": choices(random),
        "mcnemar": mcnemar(),
    }
    OUT.parent.mkdir(exist_ok=True)
    parts = (f'"{name}": {json.dumps(plain(part))}' for name, part in goldens.items())
    OUT.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main()
