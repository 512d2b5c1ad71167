"""`make parity`: the real programs at the full size of DeBERTa-v3-base, beside a live `transformers`.

    python tests/parity/full.py [--size base|tiny] [--keep DIR]

Builds a random checkpoint in layout A, imports it with `headwater-server import`, serves it, asks
every task through `headwater classify --input - --logits`, and holds each logit to 1e-4. Then
loads exported heads in `transformers`, and compares tokens over the generated lines and, where HEADWATER_TEXTS names a folder of data sets
(`train/*.jsonl`, `validation/*.jsonl`), over every text in it.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

import torch

import exports
import full_tokenizer
import layout_cases
import programs
import reference
import tokenizer_files
from configurations import SEQUENCE
from words import sentence

TOLERANCE = 1e-4
NLI = ["entailment", "neutral", "contradiction"]

SIZES = {
    "base": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "vocab_size": 128_100,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "vocab_size": 9_000,
    },
}

# One task of each kind that the importer knows by name, and many of the commonest.
TASKS = [
    ("glue/stsb", "regression", 1),
    ("swag/regular", "multiple_choice", 1),
    ("hh-rlhf", "reward", 1),
    ("conll2003/ner_tags", "token_classification", 9),
    *((f"own/task-{labels}", "classification", labels) for labels in [*range(2, 30), 77, 150]),
]
LENGTHS = [1, 6, 20, 60, 110, 130, 250, 600]


def config(size):
    return {
        "model_type": "deberta-v2",
        "architectures": [SEQUENCE],
        "hidden_act": "gelu",
        "id2label": {str(at): label for at, label in enumerate(NLI)},
        "label2id": {label: at for at, label in enumerate(NLI)},
        "layer_norm_eps": 1e-7,
        "max_position_embeddings": 512,
        "max_relative_positions": -1,
        "norm_rel_ebd": "layer_norm",
        "pad_token_id": 0,
        "pooler_hidden_act": "gelu",
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "position_buckets": 256,
        "relative_attention": True,
        "share_att_key": True,
        "type_vocab_size": 0,
        **SIZES[size],
    }


def inputs(kind, chance):
    """Two inputs of one task, of lengths drawn so that all tasks together cover them all."""

    def text():
        return sentence(chance, chance.choice(LENGTHS))

    for _ in range(2):
        if kind in ("multiple_choice", "reward"):
            yield {"text": text(), "choices": [text() for _ in range(3)]}
        elif kind == "token_classification":
            yield {"tokens": text().split()}
        elif chance.random() < 0.5:
            yield {"text": text()}
        else:
            yield {"text": text(), "text_pair": text()}


def build(folder, settings):
    """Writes the checkpoint and returns (model, tokenizer, task embeddings, layers)."""
    folder.mkdir(parents=True)
    tokenizer = tokenizer_files.write(
        tokenizer_files.published_unigram(4000, full_charsmap=True), folder / "tokenizer.json"
    )
    model = reference.build(settings, SEQUENCE, len(NLI), 11)
    generator = torch.Generator().manual_seed(12)
    hidden = settings["hidden_size"]
    table = reference.normal(generator, len(TASKS), hidden, scale=0.7)
    layers = [
        (reference.normal(generator, labels, hidden, scale=hidden**-0.5), reference.normal(generator, labels, scale=0.05))
        for _, _, labels in TASKS
    ]
    tensors = reference.stored_tensors(model, "float32")
    tensors["Z.weight"] = table
    for at, (weight, bias) in enumerate(layers):
        tensors |= {f"classifiers.{at}.weight": weight, f"classifiers.{at}.bias": bias}
    reference.write_tensors(tensors, folder / "model.safetensors")
    tasks = {"tasks": [task for task, *_ in TASKS], "classifiers_size": [[labels, hidden] for *_, labels in TASKS]}
    reference.write_json({**settings, **tasks}, folder / "config.json")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 512}\n')
    return model, tokenizer, table, layers


def golden(model, tokenizer, case, task, embedding):
    """The reference's logits of one input, its rows one after the other, every token of a token head."""
    found = []
    for text, pair in layout_cases.sequences(task, case):
        row = layout_cases.encode(tokenizer, text, pair, 512)
        found.append(reference.logits(model, row.ids, None, embedding).flatten())
    return torch.cat(found)


def compare_task(address, asked, chance):
    """The largest difference of one task's logits, with and without its task embedding, and how many there were."""
    head, tokenizer, task, kind, table_row = asked
    cases = list(inputs(kind, chance))
    largest, n_logits = 0.0, 0
    modes = [("off", None)] if table_row is None else [("on", table_row), ("off", None)]
    for mode, embedding in modes:
        answers = programs.classify(address, task, cases, mode)
        for case, answer in zip(cases, answers, strict=True):
            expected = golden(head, tokenizer, case, task, embedding)
            found = torch.tensor(programs.logits(answer))
            if found.shape != expected.shape:
                sys.exit(f"{task}: {len(found)} logits, the reference has {len(expected)}: {json.dumps(answer)[:400]}")
            difference = (found - expected).abs().max().item()
            if not difference <= TOLERANCE:
                sys.exit(f"{task}, task embedding {mode}: logits are off by {difference:.1e}")
            largest, n_logits = max(largest, difference), n_logits + len(found)
    return largest, n_logits


def compare_logits(size, folder):
    """Every task of one checkpoint, and its own NLI classifier."""
    model, tokenizer, table, layers = build(folder / "checkpoint", config(size))
    programs.server("import", folder / "checkpoint", "--data", folder / "data")
    chance, largest, n_logits = random.Random(13), 0.0, 0
    with programs.serving(folder / "data") as address:
        heads = [
            (layout_cases.with_head(model, *layers[at], kind), tokenizer, task, kind, table[at])
            for at, (task, kind, _) in enumerate(TASKS)
        ]
        for asked in [*heads, (model, tokenizer, "nli", "classification", None)]:
            difference, count = compare_task(address, asked, chance)
            largest, n_logits = max(largest, difference), n_logits + count
            print(f"{asked[2]}: {count} logits, largest difference {difference:.1e}", flush=True)
    print(f"{size} size: {n_logits} logits, largest difference {largest:.1e}, allowed {TOLERANCE:.0e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base", help="geometry of the encoder")
    parser.add_argument("--keep", type=Path, help="build the checkpoint in this new folder and leave it there")
    parser.add_argument("--skip", choices=["encoder", "tokenizer", "exports"], help="leave one part out")
    options = parser.parse_args()
    reference.one_thread()
    programs.build()
    with tempfile.TemporaryDirectory(prefix="headwater-parity-") as scratch:
        folder = options.keep or Path(scratch)
        if options.skip != "tokenizer":
            full_tokenizer.compare(folder / "tokenizers")
        if options.skip != "encoder":
            compare_logits(options.size, folder / "encoder")
        if options.skip != "exports":
            exports.compare(folder / "exports")


if __name__ == "__main__":
    main()
