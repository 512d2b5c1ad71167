"""Over gRPC, with the load made on the same machine: rates, what the network costs, and what many tasks cost."""

import statistics

from figures import Figure, Sample, times_faster
from mixed import LONGEST, QUICK_SENTENCES, SHORTEST, batches
from server import rows_file
from shapes import OWN

AT_ONCE = (1, 8, 32)
LONGEST_SERVED = 120
TOKENS_A_SECOND = 2_400
# text-embeddings-inference 1.9.3, tokens a second at 1, 8 and 32 callers, on another machine of two cores.
REFERENCES = {
    "candle with MKL": (243, 238, 219),
    "ONNX fp32": (857, 801, 786),
    "ONNX int8": (1_640, 1_608, 1_333),
}
OF_THE_ENGINE, OF_ONE_TASK = 0.93, 0.97
SHORT_TOKENS, MOST_ADDED_MS = 16, 0.4
MANY = 32


# The checkpoint's tasks; its own classifier, which is served beside them, has no task embedding.
TASKS = "synthetic/*"


def one_task(server):
    return server.tasks(TASKS, "--kind", "classification")[:1]


def concurrency(bench):
    sentences = bench.texts.some(2_000, SHORTEST, LONGEST_SERVED)
    file = rows_file("served", sentences)
    seconds, rounds = (3, 2) if bench.plan.quick else (10, 5)
    server = bench.server()
    server.load(file, 8, seconds=seconds / 2)
    runs = {callers: [] for callers in AT_ONCE}
    for _ in range(rounds):
        for callers in AT_ONCE:
            runs[callers].append(server.load(file, callers, seconds=seconds))
    for at, callers in enumerate(AT_ONCE):
        rates = Sample("headwater over gRPC, bf16", [run["tokens_per_second"] for run in runs[callers]], "tokens/s")
        elsewhere = ", ".join(f"{name} {rates[at]:,}" for name, rates in REFERENCES.items())
        worst = max(run["p99_ms"] for run in runs[callers])
        bench.add(
            Figure(
                "served",
                f"{callers} at once, tokens/s",
                rates.median,
                TOKENS_A_SECOND,
                unit="tokens/s",
                samples=[rates],
                note=f"p99 {worst:.0f} ms; reference, not measured in this run: "
                f"text-embeddings-inference 1.9.3 on another machine of two cores, {elsewhere}",
            )
        )


def network(bench):
    """The same sentences in the same order: as calls of one task, and as batches of the engine alone."""
    count = QUICK_SENTENCES if bench.plan.quick else 800
    sentences = bench.texts.some(count, SHORTEST, LONGEST)
    file, tokens = rows_file("network", sentences), sum(len(sentence.ids) for sentence in sentences)
    work = batches([sentence.ids for sentence in sentences])
    server, own = bench.server(), bench.pool.get(OWN, "bf16")
    task = one_task(server)
    served, alone = [], []
    for _ in range(1 + (2 if bench.plan.quick else 5)):
        served.append(server.load(file, MANY, task)["tokens_per_second"])
        alone.append(tokens / sum(own.forward(batch)[0] for batch in work) * 1e3)
    samples = [Sample(who, values[1:], "tokens/s") for who, values in (("served", served), ("engine", alone))]
    bench.add(times_faster("network", f"{MANY} at once, of the engine's rate", *samples, OF_THE_ENGINE))


def latency(bench):
    """Each difference is between neighbours in time, so that a slower minute is in both."""
    sentence = bench.texts.of_length(SHORT_TOKENS)
    calls, rounds = (20, 5) if bench.plan.quick else (40, 15)
    file = rows_file("latency", [sentence] * calls)
    server, own = bench.server(), bench.pool.get(OWN, "bf16")
    task = one_task(server)
    served, alone = [], []
    for _ in range(1 + rounds):
        served.append(server.load(file, 1, task)["p50_ms"])
        alone.append(statistics.median(own.forward([sentence.ids], calls)))
    samples = [Sample("served", served[1:]), Sample("engine", alone[1:])]
    added = statistics.median(with_it - without for with_it, without in zip(served[1:], alone[1:]))
    name = f"one caller, {SHORT_TOKENS} tokens, added by gRPC"
    bench.add(Figure("latency", name, added, MOST_ADDED_MS, unit="ms", at_most=True, samples=samples))


def tasks(bench):
    count = QUICK_SENTENCES if bench.plan.quick else 800
    file = rows_file("tasks", bench.texts.some(count, SHORTEST, LONGEST))
    server = bench.server()
    every, one = server.tasks(TASKS), one_task(server)
    many, single = [], []
    for _ in range(1 + (2 if bench.plan.quick else 5)):
        many.append(server.load(file, MANY, every)["tokens_per_second"])
        single.append(server.load(file, MANY, one)["tokens_per_second"])
    samples = [Sample(f"{len(every)} tasks", many[1:], "tokens/s"), Sample("one task", single[1:], "tokens/s")]
    bench.add(times_faster("tasks", f"{len(every)} tasks, of one task's rate", *samples, OF_ONE_TASK))
