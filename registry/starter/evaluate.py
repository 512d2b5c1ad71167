#!/usr/bin/env python3
"""Prints each task's validation figure beside the baseline, from the files of a bundle as they are shipped."""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder with tasks.json, train/ and validation/")
    parser.add_argument("--bundle", type=Path, default=HERE)
    parser.add_argument("--baselines", type=Path, default=HERE / "baselines.json")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    from training import bundle, evaluation, figures

    tokenizer = evaluation.open_tokenizer(options.bundle / "encoder" / "tokenizer.json")
    tasks = figures.load_measured_rows(options.data, tokenizer)
    model = bundle.read(options.bundle, tasks)
    figures.measure(model, tasks, json.loads(options.baselines.read_text()), torch.device("cpu"))


if __name__ == "__main__":
    main()
