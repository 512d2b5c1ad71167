"""Every figure of the card, measured on the exported files."""

import math

import torch

from . import calibration, data, evaluation

THRESHOLD_ROWS = 6000


def is_hopeless(value, guess, rows):
    """Not above guessing by two standard errors."""
    return guess is not None and value < guess + 2 * math.sqrt(guess * (1 - guess) / rows)


def measure(model, tasks, baselines, device):
    """{task: figures}. Temperatures are fitted on validation rows, thresholds on training rows."""
    model.eval()
    out = {}
    for index, task in enumerate(tasks):
        logits = evaluation.predict(model, index, task.validation, device)
        targets = [target for _, target in task.validation]
        figure = {
            "measure": evaluation.MEASURES[task.kind],
            "value": round(evaluation.measure(task, logits, targets), 4),
            "rows": len(targets),
            "baseline": baselines[task.name]["baseline"],
            "guess": baselines[task.name]["guess"],
        }
        if figure["guess"] is not None and task.labels:
            figure["guess"] = round(max(figure["guess"], 1 / len(task.labels)), 4)
        if task.kind == "classification":
            figure["temperature"] = calibration.temperature(logits, targets)
        if task.kind == "multi_label":
            known = task.train[:THRESHOLD_ROWS]
            found = evaluation.predict(model, index, known, device)
            figure["thresholds"] = calibration.thresholds(found, [target for _, target in known], task.outputs)
            figure["value_at_half"] = figure["value"]
            limits = torch.logit(torch.tensor(figure["thresholds"]))
            logits = [row - limits for row in logits]
            figure["value"] = round(evaluation.measure(task, logits, targets), 4)
        figure["hopeless"] = is_hopeless(figure["value"], figure["guess"], figure["rows"])
        out[task.name] = figure
        print(line(task.name, figure), flush=True)
    return out


def line(name, figure):
    guess = "     -" if figure["guess"] is None else f"{figure['guess']:6.3f}"
    mark = "  not useful" if figure["hopeless"] else ""
    return f"{name:28}{figure['measure']:10}{figure['value']:6.3f}{figure['baseline']:7.3f}{guess}{figure['rows']:6}{mark}"


def table(tasks, about, figures):
    """The card's table in Markdown."""
    names = {"accuracy": "accuracy", "pearson": "Pearson", "micro_f1": "micro F1", "span_f1": "span F1"}
    rows = [
        "| task | source | measure | this model | baseline | guessing | rows |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for task in tasks:
        figure = figures[task.name]
        guess = "" if figure["guess"] is None else f"{figure['guess']:.3f}"
        value = f"{figure['value']:.3f}" + (" *" if figure["hopeless"] else "")
        rows.append(
            f"| `{task.name}` | {about[task.name]['source']} | {names[figure['measure']]} | {value} "
            f"| {figure['baseline']:.3f} | {guess} | {figure['rows']} |"
        )
    return "\n".join(rows)


def load_measured_rows(folder, tokenizer):
    """Tasks with validation rows at the served length, 512 pieces; training rows only where thresholds need them."""
    tasks = data.read_tasks(folder)
    for task in tasks:
        task.validation = data.encode_rows(tokenizer, task, data.read_rows(folder, "validation", task), cap=512)
        if task.kind == "multi_label":
            task.train = data.encode_rows(tokenizer, task, data.read_rows(folder, "train", task), cap=512)
    return tasks
