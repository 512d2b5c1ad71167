"""Numbers a head's manifest carries besides its weights: a temperature, or one threshold per label."""

import torch
from torch.nn import functional as F

THRESHOLD_STEPS = (10, 61, 2)
ENOUGH_ROWS = 300


def temperature(logits, targets):
    """The divisor of the logits that makes the given rows likeliest; None on too few rows to tell."""
    if len(targets) < ENOUGH_ROWS:
        return None
    stacked, truth = torch.stack(logits), torch.tensor(targets)
    candidates = torch.exp(torch.linspace(-0.7, 1.1, 91))
    losses = [float(F.cross_entropy(stacked / value, truth)) for value in candidates]
    return float(candidates[losses.index(min(losses))])


def thresholds(logits, targets, labels):
    """Per label, the probability from which on calling it present gives the best F1 on the given rows.

    Two wrong proposals are added to every count, so that a handful of rows moves little.
    """
    chances = torch.sigmoid(torch.stack(logits))
    truth = torch.zeros_like(chances)
    for row, target in enumerate(targets):
        truth[row, target] = 1.0
    found = []
    for label in range(labels):
        scores = {}
        for step in range(*THRESHOLD_STEPS):
            present = (chances[:, label] >= step / 100).float()
            right = float((present * truth[:, label]).sum())
            scores[step] = 2 * right / (float(present.sum()) + float(truth[:, label].sum()) + 2.0)
        # Of equally good ones the nearest to the middle.
        best = max(scores, key=lambda step: (scores[step], -abs(step - 50)))
        found.append(best / 100)
    return found
