"""Turns: every engine once, then every engine again, so that whatever the machine does meets them all."""

from figures import Sample

# Below this, a turn begins with a forward that does not count: other engines had the caches in between.
SHORT_MS = 100
# A forward as long as this needs one forward before it that does not count, not two.
LONG_MS = 1_000
# In quick mode a first forward as long as this is the sample itself.
VERY_LONG_MS = 2_500


class Plan:
    """How often a shape is run."""

    def __init__(self, quick):
        self.quick = quick

    def repetitions(self, fastest_ms):
        if fastest_ms < SHORT_MS:
            return 7 if self.quick else 20
        return 3 if self.quick else 7


def interleaved(engines, rows, plan):
    """A sample for each engine of the forwards over `rows`; `engines` are by name."""
    samples = {name: [] for name in engines}
    first = {}
    for name, engine in engines.items():
        first[name] = engine.forward(rows)[0]
        if plan.quick and first[name] > VERY_LONG_MS:
            samples[name] = [first[name]]
        elif first[name] < LONG_MS:
            first[name] = engine.forward(rows)[0]
    for _ in range(plan.repetitions(min(first.values()))):
        for name, engine in engines.items():
            if plan.quick and first[name] > VERY_LONG_MS:
                continue
            unheeded = 1 if first[name] < SHORT_MS else 0
            samples[name] += engine.forward(rows, 1 + unheeded)[unheeded:]
    return {name: Sample(name, values) for name, values in samples.items()}
