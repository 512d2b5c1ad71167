"""The exported files: written from a training checkpoint in half precision, and read back to be measured."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from .heads import Starter
from .model import hub_config

IDENTITY_FILES = ("config.json", "model.safetensors", "tokenizer.json")


def encoder_digest(folder):
    """SHA-256 over name, newline, SHA-256 of the bytes, newline, for each of the three files."""
    lines = ""
    for name in IDENTITY_FILES:
        lines += f"{name}\n{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n"
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def half(tensor):
    if not torch.isfinite(tensor.half()).all():
        raise SystemExit("a weight does not fit half precision")
    return tensor.detach().half().contiguous().cpu()


def encoder_tensors(model):
    named = {f"deberta.{name}": half(tensor) for name, tensor in model.deberta.state_dict().items()}
    return named | {f"pooler.{name}": half(tensor) for name, tensor in model.pooler.state_dict().items()}


def served_head(model, index):
    """Weight [outputs, hidden] and bias [outputs] whose regression output is on the scale of the data."""
    task = model.tasks[index]
    weight, bias = (tensor.detach().float() for tensor in model.head(index))
    if task.kind == "regression":
        weight, bias = weight * task.deviation, bias * task.deviation + task.mean
    return weight, bias


def json_text(value):
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def tokenizer_settings(limit):
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": limit,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "model_input_names": ["input_ids", "attention_mask"],
    }


def write_encoder(model, tokenizer_text, folder, config, extra_tensors=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json_text(config), encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer_text, encoding="utf-8")
    settings = tokenizer_settings(config["max_position_embeddings"])
    (folder / "tokenizer_config.json").write_text(json_text(settings), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(save(encoder_tensors(model) | (extra_tensors or {}), {"format": "pt"}))


def write_head_weights(model, index, folder):
    """`weights.safetensors` of one head; returns the digest of its bytes."""
    weight, bias = served_head(model, index)
    tensors = {
        "weight": half(weight),
        "bias": half(bias),
        "task_embedding": half(model.task_embeddings[index]),
    }
    written = save(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.safetensors").write_bytes(written)
    return hashlib.sha256(written).hexdigest()


def write_one_file(model, tokenizer_text, folder):
    """The same model as a single checkpoint: `Z`, `classifiers.{i}.*` and, as its NLI head, that of SICK."""
    tasks = model.tasks
    nli = next(number for number, task in enumerate(tasks) if task.name == "sick/label")
    tensors = {"Z.weight": half(model.task_embeddings)}
    for index in range(len(tasks)):
        weight, bias = served_head(model, index)
        tensors |= {f"classifiers.{index}.weight": half(weight), f"classifiers.{index}.bias": half(bias)}
        if index == nli:
            tensors |= {"classifier.weight": half(weight), "classifier.bias": half(bias)}
    width = model.deberta.geometry["hidden_size"]
    config = hub_config(len(model.deberta.embeddings.word_embeddings.weight)) | {
        "architectures": ["DebertaV2ForSequenceClassification"],
        "tasks": [task.name for task in tasks],
        "classifiers_size": [[task.outputs, width] for task in tasks],
        "labels_list": [task.labels for task in tasks],
        "id2label": {str(number): label for number, label in enumerate(tasks[nli].labels)},
        "label2id": {label: number for number, label in enumerate(tasks[nli].labels)},
    }
    write_encoder(model, tokenizer_text, folder, config, tensors)


def read(folder, tasks):
    """The model in a bundle, for the tasks given: the half-precision numbers, widened."""
    folder = Path(folder)
    named = load_file(folder / "encoder" / "model.safetensors")
    vocabulary = named["deberta.embeddings.word_embeddings.weight"].shape[0]
    model = Starter(vocabulary, tasks)

    def strip(prefix):
        return {n.removeprefix(prefix): t.float() for n, t in named.items() if n.startswith(prefix)}

    model.deberta.load_state_dict(strip("deberta."))
    model.pooler.load_state_dict(strip("pooler."))
    with torch.no_grad():
        for index, task in enumerate(tasks):
            head = load_file(folder / "heads" / task.name / "weights.safetensors")
            span = slice(model.starts[index], model.starts[index] + task.outputs)
            model.weight[model.weight_row[span]] = head["weight"].float()
            model.bias[span] = head["bias"].float()
            model.task_embeddings[index] = head["task_embedding"].float()
    return model
