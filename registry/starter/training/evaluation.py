"""Validation figures: one number per task, by the measure that suits its kind."""

import torch
from tokenizers import Tokenizer

from . import heads
from .data import cut_batches

MEASURES = {
    "classification": "accuracy",
    "multiple_choice": "accuracy",
    "regression": "pearson",
    "multi_label": "micro_f1",
    "token_classification": "span_f1",
}


def open_tokenizer(path):
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    return tokenizer


def spans(tags):
    """Set of (start, end, type) of one IOB2 sequence; an I that continues nothing opens a span."""
    found, start, kind = set(), None, None
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if start is not None and (prefix != "I" or name != kind):
            found.add((start, place, kind))
            start = None
        if prefix != "O" and start is None:
            start, kind = place, name
    return found


def f1(right, proposed, true):
    return 2 * right / (proposed + true) if proposed + true else 0.0


def pearson(a, b):
    a, b = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    a, b = a - a.mean(), b - b.mean()
    scale = a.norm() * b.norm()
    return float(a @ b / scale) if scale > 0 else 0.0


@torch.no_grad()
def predict(model, index, rows, device, precise=True, token_budget=4096):
    """Logits of each row in order: [labels], [choices], or [words, labels]. In bf16 unless `precise`."""
    task = model.tasks[index]
    weight, bias = model.head(index)
    numbered = [(place, sequences, target) for place, (sequences, target) in enumerate(rows)]
    out = [None] * len(rows)
    whole = task.kind == "token_classification"
    for batch in cut_batches(numbered, token_budget):
        ids, _ = heads.collate([(index, *row[1:]) for row in batch], device)
        with torch.autocast(device.type, torch.bfloat16, enabled=not precise):
            hidden = model.deberta(ids, model.task_embeddings[index], first_only=not whole)
        if whole:
            logits = torch.nn.functional.linear(hidden.float(), weight, bias).cpu()
            for number, (place, _, target) in enumerate(batch):
                used = torch.tensor(target) >= 0
                out[place] = logits[number, : len(target)][used]
            continue
        logits = torch.nn.functional.linear(model.pool(hidden[:, 0]), weight, bias).cpu()
        at = 0
        for place, sequences, _ in batch:
            out[place] = logits[at : at + len(sequences), 0] if task.kind == "multiple_choice" else logits[at]
            at += len(sequences)
    return out


def measure(task, logits, targets):
    if task.kind in ("classification", "multiple_choice"):
        return sum(int(row.argmax()) == target for row, target in zip(logits, targets)) / len(targets)
    if task.kind == "regression":
        return pearson([float(row[0]) for row in logits], targets)
    if task.kind == "multi_label":
        proposed = [set((row > 0).nonzero().flatten().tolist()) for row in logits]
        right = sum(len(mine & set(target)) for mine, target in zip(proposed, targets))
        return f1(right, sum(map(len, proposed)), sum(len(set(target)) for target in targets))
    right = mine_count = true_count = 0
    for row, target in zip(logits, targets):
        true = spans([task.labels[label] for label in target if label >= 0])
        mine = spans([task.labels[label] for label in row.argmax(-1).tolist()])
        right, mine_count, true_count = right + len(true & mine), mine_count + len(mine), true_count + len(true)
    return f1(right, mine_count, true_count)


def glance(model, tasks, device, limit):
    """{task: value} on an even share of at most `limit` validation rows; skips the long choice tasks."""
    model.eval()
    figures = {}
    for index, task in enumerate(tasks):
        if task.kind == "multiple_choice":
            continue
        stride = max(1.0, len(task.validation) / limit)
        rows = [task.validation[int(number * stride)] for number in range(int(len(task.validation) / stride))]
        logits = predict(model, index, rows, device, precise=False)
        figures[task.name] = round(measure(task, logits, [target for _, target in rows]), 3)
    return figures
