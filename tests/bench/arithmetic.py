"""Floating-point operations that one forward of a DeBERTa v3 encoder needs, counted for its last layer at [CLS] alone.

Per token and layer: queries, keys and values 6H², the output projection 2H², the feed-forward 4HI. Per sequence and
layer, with R the relative positions that S tokens reach: scores and context 4S²H, the two position terms 4SRH. In the
last layer only keys and values are needed of every token; the rest is one position's. Projections of the position
table belong to loading. LayerNorm, softmax and activations are not counted.
"""

import math

HIDDEN, INNER, LAYERS = 768, 3072, 12
BUCKETS, MOST_POSITIONS = 256, 512


def gflop(batch, tokens, hidden=HIDDEN, inner=INNER, layers=LAYERS):
    """Of `batch` rows of `tokens` tokens each, in 1e9 operations."""
    linear = 8 * hidden**2 + 4 * hidden * inner
    reached = reachable(tokens)
    full = tokens * linear + 4 * tokens**2 * hidden + 4 * tokens * reached * hidden
    last = tokens * 4 * hidden**2 + 4 * hidden**2 + 4 * hidden * inner + 8 * tokens * hidden
    return batch * ((layers - 1) * full + last) / 1e9


def reachable(tokens):
    """Slots of the position table that distances from -(tokens - 1) to tokens - 1 fall into."""
    slots = {min(max(bucket(distance) + BUCKETS, 0), 2 * BUCKETS - 1) for distance in range(1 - tokens, tokens)}
    return len(slots)


def bucket(distance):
    middle = BUCKETS // 2
    if abs(distance) <= middle:
        return distance
    scale = math.log((MOST_POSITIONS - 1) / middle)
    # The quotient is exactly 1 at the longest distance; a hair above would be a bucket too many.
    steps = math.ceil(round(math.log(abs(distance) / middle) / scale * (middle - 1), 6))
    return int(math.copysign(steps + middle, distance))
