"""Writes tests/fixtures/fitting/golden.json: what scikit-learn fits on small random examples, for every kind of answer.

The strength of `fitting` is L2 on the mean loss: C = 1 / (rows * strength), and alpha = rows * strength for Ridge.
"""

import json
from pathlib import Path

import numpy
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, Ridge

FILE = Path(__file__).parents[1] / "fixtures" / "fitting" / "golden.json"
ROWS, WIDTH = 48, 5


def rounded(array, digits=4):
    """Numbers that f32 and JSON hold alike on both sides."""
    return numpy.round(numpy.asarray(array, dtype=numpy.float32), digits).astype(numpy.float32).astype(numpy.float64)


def logistic(strength, rows, balanced, intercept=True):
    return LogisticRegression(
        C=1.0 / (rows * strength), tol=1e-10, max_iter=10_000, fit_intercept=intercept,
        class_weight="balanced" if balanced else None,
    )


def listed(array):
    return numpy.asarray(array).tolist()


def classes(chance, strength, balanced):
    vectors = rounded(chance.normal(size=(ROWS, WIDTH)) * [1, 3, 0.5, 1, 2] + [0, 1, -2, 0, 0.5])
    pull = (vectors - vectors.mean(axis=0)) @ chance.normal(size=(WIDTH, 4)) + chance.normal(size=(ROWS, 4)) + [0, 1, 1, 0]
    answers = pull.argmax(axis=1)
    model = logistic(strength, ROWS, balanced).fit(vectors, answers)
    assert listed(model.classes_) == [0, 1, 2, 3]
    logs = log_softmax(model.decision_function(vectors), axis=1)[range(ROWS), answers]
    counts = numpy.bincount(answers)
    weights = (ROWS / (4 * counts))[answers] if balanced else numpy.ones(ROWS)
    loss = -(weights * logs).mean() + strength / 2 * (model.coef_**2).sum()
    return {"vectors": listed(vectors), "answers": listed(answers), "outputs": 4, "strength": strength,
            "balanced": balanced, "weight": listed(model.coef_), "bias": listed(model.intercept_), "loss": loss}


def labels(chance, strength, balanced):
    vectors = rounded(chance.normal(size=(ROWS, WIDTH)))
    pull = vectors @ chance.normal(size=(WIDTH, 3)) + chance.normal(size=(ROWS, 3)) + [0, -1, 1]
    holds = pull > 0
    weight, bias, loss = [], [], 0.0
    for label in range(3):
        truth = holds[:, label]
        model = logistic(strength, ROWS, balanced).fit(vectors, truth)
        weight.append(listed(model.coef_[0]))
        bias.append(float(model.intercept_[0]))
        logits = model.decision_function(vectors)
        share = ROWS / (2 * numpy.where(truth, truth.sum(), ROWS - truth.sum())) if balanced else numpy.ones(ROWS)
        loss += (share * (numpy.logaddexp(0, logits) - truth * logits)).mean() + strength / 2 * (model.coef_**2).sum()
    answers = [[int(label) for label in numpy.flatnonzero(row)] for row in holds]
    return {"vectors": listed(vectors), "answers": answers, "outputs": 3, "strength": strength, "balanced": balanced,
            "weight": weight, "bias": bias, "loss": loss}


def values(chance, strength):
    vectors = rounded(chance.normal(size=(ROWS, WIDTH)) + 1)
    answers = rounded(vectors @ chance.normal(size=WIDTH) + 4 + 0.3 * chance.normal(size=ROWS))
    model = Ridge(alpha=ROWS * strength, solver="cholesky").fit(vectors, answers)
    loss = ((model.predict(vectors) - answers) ** 2).mean() / 2 + strength / 2 * (model.coef_**2).sum()
    return {"vectors": listed(vectors), "answers": listed(answers), "outputs": 1, "strength": strength,
            "balanced": False, "weight": [listed(model.coef_)], "bias": [float(model.intercept_)], "loss": loss}


def pairs(chance, strength):
    """Questions of two choices: the first is right exactly where a logistic model without intercept of the difference
    of both vectors says so."""
    first, second = rounded(chance.normal(size=(ROWS, WIDTH))), rounded(chance.normal(size=(ROWS, WIDTH)))
    pull = (first - second) @ chance.normal(size=WIDTH) + chance.normal(size=ROWS)
    answers = (pull <= 0).astype(int)
    model = logistic(strength, ROWS, False, intercept=False).fit(first - second, pull > 0)
    logits = model.decision_function(first - second)
    loss = (numpy.logaddexp(0, logits) - (pull > 0) * logits).mean() + strength / 2 * (model.coef_**2).sum()
    vectors = numpy.stack([first, second], axis=1).reshape(-1, WIDTH)
    return {"vectors": listed(vectors), "answers": listed(answers), "outputs": 1, "strength": strength,
            "balanced": False, "weight": listed(model.coef_), "bias": [0.0], "loss": loss}


def calibrated(case, chance):
    """The temperature of a fitted case on further rows, by a bounded search."""
    vectors = rounded(chance.normal(size=(200, WIDTH)) * [1, 3, 0.5, 1, 2] + [0, 1, -2, 0, 0.5])
    logits = vectors @ numpy.array(case["weight"]).T + case["bias"]
    answers = (logits + 4 * chance.gumbel(size=logits.shape)).argmax(axis=1)
    loss = lambda t: -log_softmax(logits / t, axis=1)[range(200), answers].mean()
    found = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9})
    return {"vectors": listed(vectors), "answers": listed(answers), "temperature": float(found.x)}


def main():
    chance = numpy.random.default_rng(4)
    plain = classes(chance, 0.01, False)
    golden = {
        "classes": [plain, classes(chance, 1e-3, True)],
        "labels": [labels(chance, 0.02, False), labels(chance, 0.02, True)],
        "values": [values(chance, 0.05)],
        "pairs": [pairs(chance, 0.01)],
        "calibration": calibrated(plain, chance),
    }
    FILE.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(json.loads(json.dumps(golden), parse_float=lambda number: float(f"{float(number):.9g}")))
    FILE.write_text(text + "\n")


if __name__ == "__main__":
    main()
