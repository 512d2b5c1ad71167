"""Sentences of mixed lengths through the engines alone: unpadded, padded as they come, and padded after sorting."""

from figures import Sample, times_faster
from shapes import OPENVINO, OWN

SHORTEST, LONGEST, SENTENCES = 5, 200, 2_000
QUICK_SENTENCES = 128
BATCH = 32
AS_THEY_COME, SORTED = 2, 1.3


def batches(rows):
    return [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]


def mixed(bench):
    count = QUICK_SENTENCES if bench.plan.quick else SENTENCES
    rows = [sentence.ids for sentence in bench.texts.some(count, SHORTEST, LONGEST)]
    as_they_come, by_length = batches(rows), batches(sorted(rows, key=len))
    own, openvino = bench.pool.get(OWN, "bf16"), bench.pool.get(OPENVINO, "bf16")
    contestants = {
        "own bf16": (own, as_they_come),
        "openvino bf16": (openvino, as_they_come),
        "openvino bf16, sorted": (openvino, by_length),
    }
    tokens = sum(map(len, rows))
    rates = {name: [] for name in contestants}
    # The first pass does not count: every engine keeps something for each shape it meets.
    for timed in (False, True):
        ms = dict.fromkeys(contestants, 0.0)
        for turn in range(len(as_they_come)):
            for name, (engine, work) in contestants.items():
                ms[name] += engine.forward(work[turn])[0]
        if timed:
            for name in contestants:
                rates[name].append(tokens / ms[name] * 1e3)
    samples = {name: Sample(name, values, "tokens/s") for name, values in rates.items()}
    padded = sum(len(batch) * max(map(len, batch)) for batch in as_they_come)
    note = f"{len(rows)} rows, {tokens:,} tokens, {100 * (padded / tokens - 1):.0f} % more when padded as they come"
    waits = times_faster("mixed", "openvino as they come", samples["own bf16"], samples["openvino bf16"], AS_THEY_COME)
    waits.note = note
    bench.add(waits)
    bench.add(
        times_faster("mixed", "openvino sorted", samples["own bf16"], samples["openvino bf16, sorted"], SORTED)
    )
    bench.pool.release("openvino bf16")
