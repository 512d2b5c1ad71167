"""Makes `tests/fixtures/adapters` again: encoders, LoRA adapters as `peft` saves them, and what `peft` answers.

    pip install -r tests/parity/requirements.txt -r tests/parity/requirements-peft.txt
    python tests/parity/make_adapters.py

Each fixture is a folder with the encoder in `model`, the adapter in `adapter`, and `golden.json`: token ids in, logits
of the adapted model out, every row alone. `merged` is the same model with its adapter merged into its weights.
"""

import json
import random
import shutil
import tempfile
from pathlib import Path

import peft
import torch

import layouts
import reference
import tokenizer_files
from configurations import SEQUENCE, TOKEN

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "adapters"
LENGTHS = (1, 2, 3, 5, 9, 16, 31, 33, 48)
EVERY = ["query_proj", "key_proj", "value_proj", "dense"]

CASES = [
    # Position terms come out of the same projections, and `dense` names the pooler too.
    ("every-site", SEQUENCE, {"num_hidden_layers": 3}, {"target_modules": EVERY, "r": 4, "lora_alpha": 6}),
    (
        "stabilised-tokens",
        TOKEN,
        {"share_att_key": False, "type_vocab_size": 2},
        {"target_modules": EVERY[:3], "r": 3, "lora_alpha": 5, "use_rslora": True},
    ),
    (
        "own-pooler",
        SEQUENCE,
        {"position_biased_input": True, "pos_att_type": "c2p"},
        {
            "target_modules": ["key_proj", "intermediate.dense"],
            "r": 2,
            "lora_alpha": 2,
            "modules_to_save": ["classifier", "pooler"],
        },
    ),
]


def adapted(model, architecture, settings, generator):
    """`model` with an adapter whose every number is drawn; what is saved beside it moves as well."""
    kind = peft.TaskType.TOKEN_CLS if architecture == TOKEN else peft.TaskType.SEQ_CLS
    model = peft.get_peft_model(model, peft.LoraConfig(task_type=kind, lora_dropout=0.1, **settings)).eval()
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_A" in name:
                parameter.copy_(reference.normal(generator, *parameter.shape, scale=parameter.shape[1] ** -0.5))
            elif "lora_B" in name:
                parameter.copy_(reference.normal(generator, *parameter.shape, scale=0.25))
            elif "modules_to_save" in name:
                moved = parameter + reference.normal(generator, *parameter.shape, scale=0.1)
                parameter.copy_(moved.to(torch.float16).float())
    return model


def save_adapter(model, folder):
    with tempfile.TemporaryDirectory() as place:
        model.save_pretrained(place, safe_serialization=True)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(place) / "adapter_model.safetensors", folder / "adapter_model.safetensors")
        # The package keeps sets, whose order is another in every process.
        config = json.loads((Path(place) / "adapter_config.json").read_text())
        for key in ("target_modules", "modules_to_save"):
            config[key] = sorted(set(config[key] or []))
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make(name, architecture, keys, settings, seed):
    folder = FIXTURES / name
    generator = torch.Generator().manual_seed(seed + 1)
    tokenizer = layouts.write_tokenizer(tokenizer_files.published_unigram(260), folder / "model")
    config = layouts.tiny(tokenizer, architectures=[architecture], **keys)
    model = reference.build(config, architecture, 3, seed)
    reference.same_after_storing(model, "float16")
    tensors = reference.stored_tensors(model, "float16")
    encoder = {key: tensor for key, tensor in tensors.items() if not key.startswith("classifier.")}
    reference.write_tensors(encoder, folder / "model" / "model.safetensors")
    reference.write_json(dict(sorted(config.items())), folder / "model" / "config.json")

    model = adapted(model, architecture, settings, generator)
    save_adapter(model, folder / "adapter")
    chance = random.Random(seed)
    rows = []
    for length in LENGTHS:
        row = {"ids": [chance.randrange(1, config["vocab_size"]) for _ in range(length)]}
        if config["type_vocab_size"] and length > 2:
            row["types"] = [0] * (length // 2) + [1] * (length - length // 2)
        rows.append(row)
    answers = [reference.logits(model, row["ids"], row.get("types")) for row in rows]
    with model.disable_adapter():
        plain = [reference.logits(model, row["ids"], row.get("types")) for row in rows]
    moves = max((a - b).abs().max().item() for a, b in zip(answers, plain))
    golden = {
        "rows": rows,
        "logits": [reference.numbers(answer.flatten()) for answer in answers],
    }
    reference.write_json(golden, folder / "golden.json")
    if name == "every-site":
        merged = model.merge_and_unload()
        labels = {str(at): f"LABEL_{at}" for at in range(3)}
        reference.write_tensors(reference.stored_tensors(merged, "float32"), folder / "merged" / "model.safetensors")
        config["id2label"] = labels
        reference.write_json(dict(sorted(config.items())), folder / "merged" / "config.json")
    print(f"{name:20} the adapter moves logits by up to {moves:.2f}")


def main():
    reference.one_thread()
    shutil.rmtree(FIXTURES, ignore_errors=True)
    for at, case in enumerate(CASES):
        make(*case, seed=7000 + 100 * at)
    size = sum(path.stat().st_size for path in FIXTURES.rglob("*") if path.is_file())
    print(f"{size / 1e6:.2f} MB of fixtures")


if __name__ == "__main__":
    main()
