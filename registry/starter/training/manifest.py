"""`head.toml`: what the server reads about a head, and what a person should know before using it."""

import json
import tomllib
from pathlib import Path

DATE = "2026-11-23"
LICENCE = "Apache-2.0 for the weights; the training data keeps its own terms"


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


def value(content):
    """A text or a list of texts."""
    return quoted(content) if isinstance(content, str) else f"[{', '.join(map(quoted, content))}]"


def number(value):
    return repr(round(float(value), 4))


def read_about(path):
    return tomllib.loads(Path(path).read_text(encoding="utf-8"))


def caution(task, about, figure):
    """The measured verdict first, then what the author of the card has to say."""
    words = []
    if figure["hopeless"]:
        words.append(
            f"Do not use it for decisions: on validation it is not reliably better than guessing "
            f"({figure['value']:.2f}, guessing {figure['guess']:.2f}, {figure['rows']} rows)."
        )
    if about.get("caution"):
        words.append(about["caution"])
    return " ".join(words)


def head_toml(task, about, figure, encoder, weights_sha256):
    lines = ["format = 1", f"task = {quoted(task.name)}", f"kind = {quoted(task.kind)}"]
    if task.labels:
        lines += ["labels = [", *(f"    {quoted(label)}," for label in task.labels), "]"]
    lines += [f"encoder = {quoted(encoder)}", 'task_embedding = "on"', f"weights_sha256 = {quoted(weights_sha256)}"]
    if about.get("prompt"):
        lines.append(f"prompt = {quoted(about['prompt'])}")
    if figure.get("thresholds"):
        lines.append(f"thresholds = [{', '.join(number(value) for value in figure['thresholds'])}]")
    if figure.get("temperature"):
        lines.append(f"temperature = {number(figure['temperature'])}")
    lines += [f"{name} = {number(about[name])}" for name in ("value_minimum", "value_maximum") if name in about]
    lines += ["", "[about]", f"description = {quoted(about['description'])}"]
    warning = caution(task, about, figure)
    if warning:
        lines.append(f"caution = {quoted(warning)}")
    tags = [*about.get("tags", []), *(["not-useful"] if figure["hopeless"] else [])]
    lines.append(f"tags = [{', '.join(quoted(tag) for tag in tags)}]")
    lines.append(f"licence = {quoted(LICENCE)}")
    lines.append("dataset = " + quoted(about["source"].split(" (")[0].split(",")[0]))
    lines.append("source = " + quoted(f"registry/starter, {DATE}, trained on {about['source']}"))
    metrics = {f"validation_{figure['measure']}": figure["value"], "validation_rows": figure["rows"]}
    if figure.get("guess") is not None:
        metrics["guess"] = figure["guess"]
    if figure.get("baseline") is not None:
        metrics["baseline"] = figure["baseline"]
    lines += ["", "[about.metrics]", *(f"{name} = {number(value)}" for name, value in metrics.items())]
    for sample in about.get("samples", []):
        lines += ["", "[[about.samples]]", *(f"{field} = {value(content)}" for field, content in sample.items())]
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    return text
