#!/usr/bin/env python3
"""`make bench-gpu`: the encoder on an NVIDIA GPU beside `transformers` and the published fused kernels.

Needs a GPU, and a Python with PyTorch 2.11 and `transformers` (PYTHON=/path/to/python chooses one). Builds against that
PyTorch, makes a random checkpoint of v3-base's geometry, holds the pooled vectors to eager fp32, then times every engine
in turn on the same ids. The table goes to the terminal, all samples to `.bench/gpu.json`. `--smoke` proves the script
where there is no GPU: a tiny checkpoint on the processor, parity and the table without targets.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import gpu_table
from gpu_engines import Engine, EngineError

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".bench/gpu"
PEERS = WORK / "peers"
RESULTS = ROOT / ".bench/gpu.json"
PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/headwater-server"

TORCH = "2.11."
PEER_PACKAGES = ["einops", "flashdeberta", "disentangled-flash==1.1.1"]
SEED, FIRST_ID = 20_251_123, 5
PARITY = 1e-4
OWN, PLAIN, EAGER, PACKED = "own", "own-libtorch", "eager", "disentangled-packed"


class Run:
    """What one run does: on a GPU at full size, or without one at toy size."""

    def __init__(self, smoke):
        self.smoke = smoke
        self.device, self.dtype, self.preset = ("cpu", "fp32", "tiny") if smoke else ("cuda:0", "fp16", "base")
        self.shapes = [(1, 16), (4, 32)] if smoke else [(1, 16), (1, 128), (32, 128), (32, 512)]
        self.parity_lengths = [1, 2, 16, 17, 40] if smoke else [1, 2, 3, 16, 17, 64, 128, 129, 130, 256, 300, 511, 512]
        self.rough = [] if smoke else ["fp16", "bf16"]
        self.peers = [EAGER] if smoke else [PLAIN, EAGER, "eager-graphed", "flashdeberta", "disentangled", PACKED]
        self.batches, self.longest = (2, 40) if smoke else (8, 200)
        self.rounds = 5 if smoke else 30
        # (shape, peer): how many times faster than the peer.
        self.targets = {} if smoke else {("1 x 128", EAGER): 15, ("32 x 128", EAGER): 2.5, ("mixed", PACKED): 1}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="toy size on the processor, for a machine without a GPU")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are built")
    options = parser.parse_args()
    torch = torch_of_this_python()
    if not options.smoke and not torch.cuda.is_available():
        print("bench-gpu: there is no GPU here, so this is the smoke mode on the processor.", flush=True)
        options.smoke = True
    run = Run(options.smoke)
    if not options.no_build:
        build(None if run.smoke else Path(torch.__file__).parent)
    try:
        bundle = prepare(run)
        if not run.smoke:
            install_peers()
        measure(run, bundle, torch)
    except EngineError as error:
        sys.exit(f"bench-gpu: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def torch_of_this_python():
    try:
        import torch
        import transformers  # noqa: F401 - the peers need it, and it is better to hear that now
    except ImportError as error:
        sys.exit(
            f"bench-gpu: {sys.executable} has no {error.name}; choose another with PYTHON=..., or pip install "
            "torch==2.11.0 transformers==5.23.0 nvidia-cuda-crt==13.0.* nvidia-cuda-nvrtc==13.0.*"
        )
    if not torch.__version__.startswith(TORCH):
        sys.exit(f"bench-gpu: {sys.executable} has PyTorch {torch.__version__}, and {TORCH}x is needed")
    return torch


def build(torch_folder):
    """Builds the release programs, against `torch_folder` if there is one."""
    environment = {**os.environ}
    if torch_folder:
        environment["HEADWATER_LIBTORCH"] = str(torch_folder)
        print("bench-gpu: building against PyTorch; `HEADWATER_LIBTORCH=cpu make setup` goes back", flush=True)
    if subprocess.run(["make", "--no-print-directory", "build"], cwd=ROOT, env=environment).returncode != 0:
        sys.exit("bench-gpu: the build failed")


def prepare(run):
    """A random checkpoint in `.bench/gpu`, once, and its bundle."""
    checkpoint, bundle = WORK / f"{run.preset}/checkpoint", WORK / f"{run.preset}/bundle"
    if not bundle.exists():
        shutil.rmtree(WORK / run.preset, ignore_errors=True)
        bundle.parent.mkdir(parents=True)
        print(f"bench-gpu: making a checkpoint of {run.preset} geometry (once)", flush=True)
        server("synth", "--preset", run.preset, "--tasks", 1, "--out", checkpoint)
        incoming = bundle.with_name("incoming")
        server("import", checkpoint, "--kinds", checkpoint / "kinds.tsv", "--out", incoming)
        incoming.rename(bundle)
    return bundle


def server(*words):
    words = [str(PROGRAM), *map(str, words)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench-gpu: {' '.join(words)} failed: {done.stderr.strip()}")


def install_peers():
    """Puts the fused kernels beside the results; whatever cannot be had is left out of the table with its reason."""
    for package in PEER_PACKAGES:
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(PEERS), package]
        if subprocess.run(words, stdout=subprocess.DEVNULL).returncode != 0:
            print(f"bench-gpu: {package} cannot be installed", flush=True)


def engine(run, name, dtype, bundle):
    if name in (OWN, PLAIN):
        command = [PROGRAM, "bench", "--drive", "--bundle", bundle, "--device", run.device, "--dtype", dtype]
        command += ["--kernels", "libtorch"] if name == PLAIN else []
    else:
        script = Path(__file__).with_name("gpu_peers.py")
        command = [sys.executable, script, name, run.device, dtype, bundle.with_name("checkpoint")]
    return Engine(f"{name} {dtype}", command, WORK / "logs", {"PYTHONPATH": str(PEERS)})


def measure(run, bundle, torch):
    results = {"machine": machine(run, torch), "parity": [], "times": []}
    print(f"\n{results['machine']}", flush=True)
    own = engine(run, OWN, "fp32", bundle)
    vocabulary = own.info["vocabulary"]
    reference = engine(run, EAGER, "fp32", bundle)
    results["parity"] = parity(run, bundle, own, reference, vocabulary)
    own.close()
    reference.close()
    failed = [line for line in results["parity"] if line["verdict"] == "short"]

    engines, absent = {}, {}
    for name in [OWN, *run.peers]:
        try:
            engines[name] = engine(run, name, run.dtype, bundle)
        except EngineError as error:
            absent[name] = str(error)
    if OWN not in engines:
        raise EngineError(absent[OWN])
    for shape, batches in workloads(run, vocabulary):
        results["times"] += gpu_table.compared(shape, times(run, engines, absent, batches), run.targets, absent)
    for running in engines.values():
        running.close()
    results["absent"] = absent
    gpu_table.show(results)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nAll samples are in {RESULTS.relative_to(ROOT)}.")
    short = [line for line in results["times"] if line["verdict"] == "short"]
    if failed:
        sys.exit("bench-gpu: parity does not hold")
    if short:
        sys.exit(f"bench-gpu: {len(short)} targets are not reached")


def machine(run, torch):
    if run.smoke:
        return f"smoke mode on the processor, PyTorch {torch.__version__}"
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader", "--id=0"]
    found = shutil.which(query[0]) and subprocess.run(query, capture_output=True, text=True).stdout.strip()
    driver = f", driver and clock {found}" if found else ""
    return f"{torch.cuda.get_device_name(0)}{driver}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}"


def rows_of(lengths, vocabulary):
    """The same ids for every engine and in every run."""
    chance = random.Random(f"{SEED} {lengths}")
    return [[chance.randrange(FIRST_ID, vocabulary) for _ in range(length)] for length in lengths]


def workloads(run, vocabulary):
    """Names, and for each the batches of one pass."""
    for rows, length in run.shapes:
        yield f"{rows} x {length}", [rows_of([length] * rows, vocabulary)]
    chance = random.Random(SEED)
    lengths = [[5 + int((run.longest - 5) * chance.random() ** 2) for _ in range(32)] for _ in range(run.batches)]
    yield "mixed", [rows_of(batch, vocabulary) for batch in lengths]


def parity(run, bundle, own, reference, vocabulary):
    """Largest differences of pooled vectors to eager fp32: alone and together, then in half precision."""
    rows = rows_of(run.parity_lengths, vocabulary)
    expected = [reference.pooled([row])[0] for row in rows]
    lines = []

    def line(name, found, allowed):
        largest = max(abs(a - b) for one, other in zip(found, expected, strict=True) for a, b in zip(one, other))
        verdict = "" if allowed is None else "pass" if largest <= allowed else "short"
        lines.append({"name": name, "largest": largest, "allowed": allowed, "verdict": verdict})

    line("own fp32, rows alone", [own.pooled([row])[0] for row in rows], PARITY)
    line("own fp32, rows alone again", [own.pooled([row])[0] for row in rows], PARITY)
    line("own fp32, one batch", own.pooled(rows), PARITY)
    for dtype in run.rough:
        for name in (OWN, PLAIN, EAGER):
            rough = engine(run, name, dtype, bundle)
            line(f"{name} {dtype}, rows alone", [rough.pooled([row])[0] for row in rows], None)
            if name == OWN:
                line(f"{name} {dtype}, rows alone again", [rough.pooled([row])[0] for row in rows], None)
                line(f"{name} {dtype}, one batch", rough.pooled(rows), None)
            rough.close()
    return lines


def times(run, engines, absent, batches):
    """Milliseconds of each engine's passes over `batches`, engines taking turns. The first two passes do not count."""
    samples = {name: [] for name in engines if name not in absent}
    for number in range(2 + run.rounds):
        for name in list(samples):
            try:
                ms = sum(engines[name].forward(batch)[0] for batch in batches)
            except EngineError as error:
                if name == OWN:
                    raise
                absent[name] = str(error)
                del samples[name]
                continue
            if number >= 2:
                samples[name].append(ms)
    rows, tokens = sum(map(len, batches)), sum(len(row) for batch in batches for row in batch)
    return {"rows": rows, "tokens": tokens, "ms": samples}


if __name__ == "__main__":
    main()
