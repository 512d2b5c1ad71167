"""All heads over one encoder: task embeddings, shared label weights, and the loss of a mixed batch."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .model import GEOMETRY, Encoder

TASK_EMBEDDING_DROP = 0.1
POOLED_DROPOUT = 0.1
# A row's loss is a sum over its words, or over its labels where several can hold; these bring it near other rows'.
SPAN_TOKENS = 6.0
LABEL_SUM = 3.0


class Starter(nn.Module):
    """One encoder and pooler, one task embedding per task, one row of weight per distinct label."""

    def __init__(self, vocab_size, tasks):
        super().__init__()
        width = GEOMETRY["hidden_size"]
        self.tasks = tasks
        self.deberta = Encoder(vocab_size)
        self.pooler = nn.Module()
        self.pooler.dense = nn.Linear(width, width)
        with torch.no_grad():
            self.pooler.dense.weight.copy_(torch.eye(width) + 0.02 * torch.randn(width, width))
            self.pooler.dense.bias.zero_()
        self.task_embeddings = nn.Parameter(torch.zeros(len(tasks), width))
        # Output o of a task owns bias `start + o`; its weight row is shared by tasks with equal labels,
        # and all multiple-choice tasks share one.
        groups, rows, self.starts, weight_row = {}, 0, [], []
        for task in tasks:
            key = "choice" if task.kind == "multiple_choice" else (task.kind, *task.labels) if task.labels else task.name
            if key not in groups:
                groups[key], rows = rows, rows + task.outputs
            self.starts.append(len(weight_row))
            weight_row += range(groups[key], groups[key] + task.outputs)
        self.register_buffer("weight_row", torch.tensor(weight_row), persistent=False)
        self.weight = nn.Parameter(0.02 * torch.randn(rows, width))
        self.bias = nn.Parameter(torch.zeros(len(weight_row)))
        owner = torch.cat([torch.full((task.outputs,), number) for number, task in enumerate(tasks)])
        self.register_buffer("foreign", owner[None] != torch.arange(len(tasks))[:, None], persistent=False)

    def head(self, index):
        """(weight [labels, hidden], bias [labels]) of one task."""
        span = slice(self.starts[index], self.starts[index] + self.tasks[index].outputs)
        return self.weight[self.weight_row[span]], self.bias[span]

    def pool(self, first):
        return F.gelu(self.pooler.dense(first.float()))

    def all_logits(self, features):
        return F.linear(features, self.weight[self.weight_row], self.bias)


def collate(batch, device):
    """ids [B,S] padded with 0 and the task of each sequence [B]."""
    sequences = [(ids, row[0]) for row in batch for ids in row[1]]
    length = max(len(ids) for ids, _ in sequences)
    ids = torch.zeros(len(sequences), length, dtype=torch.long)
    for number, (sequence, _) in enumerate(sequences):
        ids[number, : len(sequence)] = torch.tensor(sequence)
    return ids.to(device), torch.tensor([task for _, task in sequences], device=device)


def span_loss(model, hidden, owners, batch):
    """Cross-entropy of every first piece, summed over all words, divided by `SPAN_TOKENS`."""
    targets = torch.full(hidden.shape[:2], -100)
    for number, (task, _, labels) in enumerate(batch):
        targets[number, : len(labels)] = torch.tensor(labels)
        targets[number][targets[number] >= 0] += model.starts[task]
    targets = targets.to(hidden.device)
    used = targets >= 0
    logits = model.all_logits(hidden[used].float())
    logits = logits.masked_fill(model.foreign[owners][:, None].expand(*hidden.shape[:2], -1)[used], -1e9)
    return F.cross_entropy(logits, targets[used], reduction="sum") / SPAN_TOKENS


def pooled_loss(model, pooled, owners, batch):
    """Sum over rows of each row's own loss; the batch mixes all kinds but spans."""
    logits = model.all_logits(F.dropout(pooled, POOLED_DROPOUT, model.training))
    classes, class_targets, total, place = [], [], logits.new_zeros(()), 0
    numbers, number_targets = [], []
    for task_index, sequences, target in batch:
        task, start = model.tasks[task_index], model.starts[task_index]
        if task.kind == "classification":
            classes.append(place)
            class_targets.append(start + target)
        elif task.kind == "regression":
            numbers.append((place, start))
            number_targets.append((target - task.mean) / task.deviation)
        elif task.kind == "multi_label":
            truth = logits.new_zeros(task.outputs)
            truth[target] = 1.0
            own = logits[place, start : start + task.outputs]
            total = total + F.binary_cross_entropy_with_logits(own, truth, reduction="sum") / LABEL_SUM
        else:
            scores = logits[place : place + len(sequences), start]
            total = total + F.cross_entropy(scores[None], torch.tensor([target], device=scores.device))
        place += len(sequences)
    if classes:
        at = torch.tensor(classes, device=logits.device)
        own = logits[at].masked_fill(model.foreign[owners[at]], -1e9)
        total = total + F.cross_entropy(own, torch.tensor(class_targets, device=at.device), reduction="sum")
    if numbers:
        rows, columns = torch.tensor(numbers, device=logits.device).unbind(1)
        truth = torch.tensor(number_targets, device=logits.device)
        total = total + F.mse_loss(logits[rows, columns], truth, reduction="sum")
    return total


def prior_bias(model):
    """Starts every classification and multi-label bias at the log odds of its label in the training rows."""
    with torch.no_grad():
        for number, task in enumerate(model.tasks):
            counts = [1.0] * task.outputs
            for _, target in task.train:
                if task.kind == "classification":
                    counts[target] += 1
                elif task.kind == "multi_label":
                    for label in target:
                        counts[label] += 1
                elif task.kind == "token_classification":
                    for label in target:
                        if label >= 0:
                            counts[label] += 1
            if task.kind in ("regression", "multiple_choice"):
                continue
            total = len(task.train) + 2.0 if task.kind == "multi_label" else sum(counts)
            odds = (lambda p: math.log(p / (1 - p))) if task.kind == "multi_label" else math.log
            values = [odds(count / total) for count in counts]
            model.bias[model.starts[number] : model.starts[number] + task.outputs] = torch.tensor(values)
