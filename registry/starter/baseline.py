#!/usr/bin/env python3
"""Measures the word-count baselines on the validation rows and writes them to baselines.json."""

import argparse
import json
import os
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder with tasks.json, train/ and validation/")
    parser.add_argument("--out", type=Path, default=HERE / "baselines.json")
    options = parser.parse_args()
    from training import baseline, data

    figures = {}
    for task in data.read_tasks(options.data):
        figures[task.name] = {name: value and round(value, 4) for name, value in baseline.measure(options.data, task).items()}
        print(f"{task.name:28} {figures[task.name]}", flush=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
