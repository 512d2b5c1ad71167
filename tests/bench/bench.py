"""`make bench`: Headwater beside its peers, in turns, in one session, on the same token ids, against stated targets.

    python tests/bench/bench.py [--quick] [--only SECTION ...] [--data DIR] [--soak MINUTES] [--markdown]

Everything that is made lies in `.bench` and is used again: checkpoint, exports, logs; results.json, results.md and
results.svg are those of the last run.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path

import machine
import many_heads
import mixed
import places
import prepare
import report
import served
import shapes
import soak
from engines import EngineError, Pool
from figures import missing
from rounds import Plan
from server import Server
from texts import Texts

SECTIONS = {
    "fp32": shapes.fp32,
    "bf16": shapes.bf16,
    "int8": shapes.int8,
    "efficiency": shapes.efficiency,
    "mixed": mixed.mixed,
    "heads": many_heads.heads,
    "served": served.concurrency,
    "network": served.network,
    "latency": served.latency,
    "tasks": served.tasks,
    "soak": soak.soak,
}
WITH_PEERS = {"fp32", "bf16", "int8", "mixed"}
AGREEMENT_SHAPES = [(2, 40), (1, 150)]
TEXTS = places.ROOT / "../shared/data/validation"
SOAK_MINUTES = 10


class Bench:
    """One run: what is running, and what was found."""

    def __init__(self, options):
        self.plan = Plan(options.quick)
        self.threads = options.threads
        self.soak_minutes = options.soak if options.soak is not None else 0 if options.quick else SOAK_MINUTES
        self.pool = Pool(options.threads)
        self.vocabulary = json.loads((places.CHECKPOINT / "config.json").read_text())["vocab_size"]
        self.folder = options.data or (TEXTS.resolve() if TEXTS.is_dir() else None)
        self.figures, self.notes = [], []
        self.running_server = None
        self.all_texts = None

    @property
    def texts(self):
        if self.all_texts is None:
            self.all_texts = Texts(self.folder)
            self.note(f"sentences: {self.all_texts.source}")
        return self.all_texts

    def server(self):
        """The bf16 server, started when it is first wanted."""
        if self.running_server is None:
            print("  starting the server", flush=True)
            self.running_server = Server("bf16", self.threads).__enter__()
        return self.running_server

    def add(self, figure):
        self.figures.append(figure)
        print(report.line(figure), flush=True)

    def note(self, text):
        self.notes.append(text)
        print(f"  {text}", flush=True)

    def agreement(self, precision):
        """How far the engine's logits are from eager fp32; nothing where that one has not run."""
        rows = [shapes.rows_of(shape, self.vocabulary) for shape in AGREEMENT_SHAPES]
        if eager := self.pool.running.get("eager fp32"):
            self.pool.reference = [eager.ask({"op": "logits", "rows": batch})["logits"] for batch in rows]
        if self.pool.reference is None:
            return
        own = [self.pool.get("own", precision).ask({"op": "pooled", "rows": batch})["pooled"] for batch in rows]
        largest = max(
            float(abs(classified(found) - expected).max()) for found, expected in zip(own, self.pool.reference)
        )
        self.note(f"{precision}: logits within {largest:.1e} of eager fp32")

    def run(self, names):
        for name in names:
            print(f"{name}", flush=True)
            try:
                SECTIONS[name](self)
            except EngineError as error:
                self.add(missing(name, "the rest of this section", None, str(error)))

    def close(self):
        self.pool.close()
        if self.running_server:
            self.running_server.close()


def classified(pooled):
    """Logits of the checkpoint's own classifier."""
    import numpy
    from safetensors import safe_open

    with safe_open(places.CHECKPOINT / "model.safetensors", "numpy") as tensors:
        weight, bias = (tensors.get_tensor(f"classifier.{part}") for part in ("weight", "bias"))
    return numpy.array(pooled) @ weight.T + bias


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, no soak: five minutes")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="run this section; give one for each")
    parser.add_argument("--data", type=Path, help="folder of JSON-lines files with the field text")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="minutes of the steady state section")
    parser.add_argument("--threads", type=int, default=2, help="threads of every engine (2)")
    parser.add_argument("--markdown", action="store_true", help="print the last results as Markdown, measure nothing")
    return parser.parse_args()


def main():
    options = arguments()
    if options.markdown:
        if not places.RESULTS.exists():
            sys.exit("bench: nothing was measured yet")
        print(report.markdown(json.loads(places.RESULTS.read_text())), end="")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: asked to stop"))
    names = [name for name in SECTIONS if not options.only or name in options.only]
    prepare.prepare(with_exports=bool(WITH_PEERS & set(names)))
    started, ticks = time.monotonic(), machine.processor_times()
    about = machine.description()
    machine.show(about)
    bench = Bench(options)
    try:
        bench.run(names)
    finally:
        bench.close()
    stolen = machine.stolen(ticks, machine.processor_times())
    bench.note(f"the host kept {100 * stolen:.1f} % of the processors' time for others")
    results = {
        "machine": about,
        "quick": options.quick,
        "threads": options.threads,
        "seconds": round(time.monotonic() - started),
        "notes": bench.notes,
        "figures": [figure.as_json() for figure in bench.figures],
    }
    print("\n" + "\n".join(report.line(figure) for figure in bench.figures))
    print(f"\n{report.summary(bench.figures)}; {results['seconds']} s")
    print("written: " + ", ".join(str(path.relative_to(places.ROOT)) for path in report.write(results)))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
