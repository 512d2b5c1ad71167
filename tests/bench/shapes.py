"""Fixed shapes: fp32, bf16 and int8 beside the peers, and what share of the machine's peak a forward reaches."""

import random
import statistics

from arithmetic import gflop
from engines import EngineError
from figures import Figure, Sample, geometric_mean, missing, times_faster
from rounds import interleaved

SHAPES = [(1, 16), (1, 64), (1, 128), (8, 64), (8, 128), (8, 512)]
FP32_EAGER = dict(zip(SHAPES, (8, 5, 4, 3, 2.5, 2.5)))
FP32_RUNTIMES = 1.25
BF16_OPENVINO, BF16_OPENVINO_MEAN, BF16_EAGER = 1.3, 1.5, 2
INT8_SHAPES = [(8, 64), (8, 128)]
INT8_OWN, INT8_ONNX = 1.25, 1.8
EFFICIENCY = {(8, 128): 0.70, (8, 512): 0.55}
FIRST_ID, SEED = 5, 20_251_123
OPENVINO, ONNX, EAGER, OWN = "openvino", "onnxruntime", "eager", "own"


def called(shape):
    return f"{shape[0]} x {shape[1]}"


def rows_of(shape, vocabulary):
    """The same ids for every engine and in every run."""
    chance = random.Random(f"{SEED} {shape}")
    return [[chance.randrange(FIRST_ID, vocabulary) for _ in range(shape[1])] for _ in range(shape[0])]


def engines(pool, wanted):
    return {f"{kind} {precision}": pool.get(kind, precision) for kind, precision in wanted}


def fp32(bench):
    running = engines(bench.pool, [(OWN, "fp32"), (EAGER, "fp32"), (ONNX, "fp32"), (OPENVINO, "fp32")])
    bench.agreement("fp32")
    for shape in SHAPES:
        samples = interleaved(running, rows_of(shape, bench.vocabulary), bench.plan)
        own = samples["own fp32"]
        bench.add(times_faster("fp32", f"{called(shape)}, eager", own, samples["eager fp32"], FP32_EAGER[shape]))
        faster = min(samples["onnxruntime fp32"], samples["openvino fp32"], key=lambda sample: sample.median)
        other = next(samples[name] for name in ("onnxruntime fp32", "openvino fp32") if samples[name] is not faster)
        figure = times_faster("fp32", f"{called(shape)}, {faster.who.split()[0]}", own, faster, FP32_RUNTIMES)
        figure.note = f"{other.who.split()[0]} {other}"
        figure.samples.append(other)
        bench.add(figure)
    bench.pool.release("own fp32", "eager fp32", "onnxruntime fp32", "openvino fp32")


def bf16(bench):
    running = engines(bench.pool, [(OWN, "bf16"), (OPENVINO, "bf16"), (EAGER, "bf16")])
    bench.agreement("bf16")
    ratios = []
    for shape in SHAPES:
        samples = interleaved(running, rows_of(shape, bench.vocabulary), bench.plan)
        own = samples["own bf16"]
        figure = times_faster("bf16", f"{called(shape)}, openvino", own, samples["openvino bf16"], BF16_OPENVINO)
        ratios.append(figure.value)
        bench.add(figure)
        bench.add(times_faster("bf16", f"{called(shape)}, eager", own, samples["eager bf16"], BF16_EAGER))
    bench.add(Figure("bf16", "all shapes, openvino: mean", geometric_mean(ratios), BF16_OPENVINO_MEAN))
    bench.pool.release("eager bf16")


def int8(bench):
    try:
        bench.pool.get(OWN, "int8")
    except EngineError as error:
        for shape in INT8_SHAPES:
            bench.add(missing("int8", f"{called(shape)}, own bf16", INT8_OWN, str(error)))
            bench.add(missing("int8", f"{called(shape)}, onnxruntime int8", INT8_ONNX, str(error)))
        return
    running = engines(bench.pool, [(OWN, "int8"), (OWN, "bf16"), (ONNX, "int8")])
    bench.agreement("int8")
    for shape in INT8_SHAPES:
        samples = interleaved(running, rows_of(shape, bench.vocabulary), bench.plan)
        own = samples["own int8"]
        for peer, target in (("own bf16", INT8_OWN), ("onnxruntime int8", INT8_ONNX)):
            bench.add(times_faster("int8", f"{called(shape)}, {peer}", own, samples[peer], target))
    bench.pool.release("own int8", "onnxruntime int8")


def efficiency(bench):
    """The peak is measured anew before every forward: the clock of a shared machine moves."""
    own = bench.pool.get(OWN, "bf16")
    for shape, target in EFFICIENCY.items():
        name = f"{called(shape)}, share of the bf16 peak"
        rows = rows_of(shape, bench.vocabulary)
        own.forward(rows)
        peaks, reached = [], []
        try:
            for _ in range(2 if bench.plan.quick else 7):
                peaks.append(own.ask({"op": "peak"})["gflops"])
                reached.append(gflop(*shape) / own.forward(rows)[0] * 1e3)
        except EngineError as error:
            bench.add(missing("efficiency", name, target, str(error), unit="of peak"))
            continue
        samples = [Sample("forward", reached, "GFLOP/s"), Sample("peak", peaks, "GFLOP/s")]
        share = statistics.median(reached) / statistics.median(peaks)
        bench.add(Figure("efficiency", name, share, target, unit="of peak", samples=samples))
