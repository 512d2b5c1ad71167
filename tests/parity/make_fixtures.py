"""Makes `tests/fixtures/parity`, `tests/fixtures/layouts` and `tests/fixtures/asking` again, byte for byte.

    python tests/parity/make_fixtures.py

Each parity fixture is a folder with `config.json`, `model.safetensors` and `golden.json`: token ids
in, logits of the reference out, every row alone.
"""

import random
import shutil
from pathlib import Path

import torch

import asking
import layouts
import reference
from configurations import CHECKPOINTS, TOKEN

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"


def rows_of(checkpoint, seed):
    """One row per length with a task embedding and one without; types on where the model has them."""
    chance = random.Random(seed)
    has_types = checkpoint.config["type_vocab_size"] > 0
    for length in checkpoint.lengths:
        ids = [chance.randrange(1, checkpoint.config["vocab_size"]) for _ in range(length)]
        row = {"ids": ids}
        if has_types and length > 2:
            first = chance.randrange(1, length)
            row["types"] = [0] * first + [1] * (length - first)
        yield row


def make(checkpoint, seed):
    """Writes one fixture and returns how far the reference itself moves when it pads."""
    model = reference.build(checkpoint.config, checkpoint.architecture, checkpoint.labels, seed)
    reference.same_after_storing(model, checkpoint.dtype)
    generator = torch.Generator().manual_seed(seed + 1)
    width = checkpoint.config.get("embedding_size", checkpoint.config["hidden_size"])
    embeddings = [reference.normal(generator, width, scale=0.7) for _ in range(2)]

    rows = list(rows_of(checkpoint, seed))
    answers, padding_moves = [], 0.0
    for index, embedding in [(None, None), *enumerate(embeddings)]:
        # Token heads answer at every position: one embedding suffices to hold them to it.
        if checkpoint.architecture == TOKEN and index == 1:
            continue
        alone = [reference.logits(model, row["ids"], row.get("types"), embedding) for row in rows]
        padded = reference.padded_logits(model, rows, embedding)
        padding_moves = max([padding_moves, *((a - b).abs().max().item() for a, b in zip(alone, padded))])
        answers += [(at, index, logits) for at, logits in enumerate(alone)]

    folder = FIXTURES / "parity" / checkpoint.name
    tensors = reference.stored_tensors(model, checkpoint.dtype, checkpoint.names)
    for name in checkpoint.extra:
        tensors[name] = torch.zeros(4, dtype=torch.int64 if name.endswith("position_ids") else torch.float16)
    reference.write_tensors(tensors, folder / "model.safetensors")
    config = {**checkpoint.config, "id2label": {str(label): f"LABEL_{label}" for label in range(checkpoint.labels)}}
    reference.write_json(dict(sorted(config.items())), folder / "config.json")
    golden = {
        "architecture": checkpoint.architecture,
        "labels": checkpoint.labels,
        "classifier": {
            "weight": reference.numbers(model.classifier.weight.detach().flatten()),
            "bias": reference.numbers(model.classifier.bias.detach()),
        },
        "task_embeddings": [reference.numbers(embedding) for embedding in embeddings],
        "rows": rows,
        # [row, task embedding or null, logits row-major]
        "answers": [(at, index, reference.numbers(logits.flatten())) for at, index, logits in answers],
    }
    reference.write_json(golden, folder / "golden.json")
    return padding_moves


def main():
    reference.one_thread()
    for kind in ("parity", "layouts", "asking"):
        shutil.rmtree(FIXTURES / kind, ignore_errors=True)
    for seed, checkpoint in enumerate(CHECKPOINTS):
        moved = make(checkpoint, 1000 * (seed + 1))
        print(f"{checkpoint.name:36} padding moves the reference by {moved:.1e}")
    layouts.make_all(FIXTURES / "layouts")
    asking.make_all(FIXTURES / "layouts", FIXTURES / "asking")
    size = sum(path.stat().st_size for path in FIXTURES.rglob("*") if path.is_file())
    print(f"{size / 1e6:.2f} MB of fixtures")


if __name__ == "__main__":
    main()
