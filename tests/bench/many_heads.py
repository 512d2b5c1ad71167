"""Many heads upon one text: on one vector in shared mode, and exactly, as one batch of rows."""

from figures import Figure, Sample, times_faster
from shapes import OWN, rows_of

HEADS, SHARED_AT_MOST = 444, 1.10
TASKS, TOGETHER = 16, 2
SHAPE = (1, 64)
# A batch saves reading the weights again, which is most of the work for a short text and little for a long one.
EXACT_TOKENS = (8, 16, 64)


def heads(bench):
    own = bench.pool.get(OWN, "bf16")
    tokens = rows_of(SHAPE, bench.vocabulary)[0]
    turns = 10 if bench.plan.quick else 30
    asked = {HEADS: [], 1: []}
    for _ in range(1 + turns):
        for count, ms in asked.items():
            ms += own.ask({"op": "heads", "tokens": tokens, "heads": count, "repeat": 2})["ms"][1:]
    many, one = Sample(f"{HEADS} heads", asked[HEADS][1:]), Sample("one head", asked[1][1:])
    name = f"{SHAPE[1]} tokens, {HEADS} heads beside one, shared"
    bench.add(Figure("heads", name, many.median / one.median, SHARED_AT_MOST, at_most=True, samples=[many, one]))
    repeat = 1 + (3 if bench.plan.quick else 10)
    for length in EXACT_TOKENS:
        exact = own.ask({"op": "exact", "tokens": tokens[:length], "tasks": TASKS, "repeat": repeat})
        together, apart = Sample("one batch", exact["together"][1:]), Sample("one by one", exact["apart"][1:])
        bench.add(times_faster("heads", f"{length} tokens, {TASKS} tasks exact, in one batch", together, apart, TOGETHER))
