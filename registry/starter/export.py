#!/usr/bin/env python3
"""Writes the bundle (encoder/, heads/) from a training checkpoint, measures it, and fills in the card's table."""

import argparse
import json
import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent
TABLE = ("<!-- figures -->", "<!-- end of figures -->")


def fill_card(card, table):
    text = card.read_text(encoding="utf-8")
    before, rest = text.split(TABLE[0])
    after = rest.split(TABLE[1])[1]
    card.write_text(f"{before}{TABLE[0]}\n{table}\n{TABLE[1]}{after}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder with tasks.json, train/ and validation/")
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder of the training run")
    parser.add_argument("--out", type=Path, default=HERE, help="the bundle; its encoder/ and heads/ are replaced")
    parser.add_argument("--baselines", type=Path, default=HERE / "baselines.json")
    parser.add_argument("--one-file", type=Path, help="write a single-file checkpoint here as well")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    from training import bundle, evaluation, figures, heads, manifest
    from training.data import read_rows, read_tasks
    from training.model import hub_config

    tokenizer_path = options.work / "tokenizer.json"
    tokenizer_text = tokenizer_path.read_text(encoding="utf-8")
    state = torch.load(options.work / "checkpoint.pt", map_location="cpu")
    tasks = read_tasks(options.data)
    for task in tasks:
        if task.kind == "regression":
            targets = [row["label"] for row in read_rows(options.data, "train", task)]
            task.set_scale(targets)
    trained = heads.Starter(state["model"]["deberta.embeddings.word_embeddings.weight"].shape[0], tasks)
    trained.load_state_dict(state["model"])
    if options.one_file:
        bundle.write_one_file(trained, tokenizer_text, options.one_file)

    for part in ("encoder", "heads"):
        shutil.rmtree(options.out / part, ignore_errors=True)
    config = hub_config(trained.deberta.embeddings.word_embeddings.num_embeddings)
    bundle.write_encoder(trained, tokenizer_text, options.out / "encoder", config)
    weights = {
        task.name: bundle.write_head_weights(trained, index, options.out / "heads" / task.name)
        for index, task in enumerate(tasks)
    }
    measured_tasks = figures.load_measured_rows(options.data, evaluation.open_tokenizer(tokenizer_path))
    measured = figures.measure(
        bundle.read(options.out, measured_tasks), measured_tasks, json.loads(options.baselines.read_text()), torch.device("cpu")
    )
    about = manifest.read_about(HERE / "tasks.toml")
    digest = bundle.encoder_digest(options.out / "encoder")
    for task in tasks:
        text = manifest.head_toml(task, about[task.name], measured[task.name], digest, weights[task.name])
        (options.out / "heads" / task.name / "head.toml").write_text(text, encoding="utf-8")
    (options.out / "figures.json").write_text(json.dumps(measured, indent=2) + "\n")
    if (options.out / "README.md").exists():
        fill_card(options.out / "README.md", figures.table(tasks, about, measured))
    print(f"{digest}: {state['rows']} rows, {state['tokens']} tokens, {state['seconds'] / 60:.0f} minutes of training")


if __name__ == "__main__":
    main()
