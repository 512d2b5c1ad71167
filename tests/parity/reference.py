"""Small random checkpoints and what `transformers` answers with them, in float32 and eager attention."""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

STORED = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def one_thread():
    """One thread and no progress bars: the reference is the same on every machine."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def normal(generator, *shape, scale=1.0):
    """Normal numbers that half precision holds exactly, so that a stored checkpoint loses nothing."""
    numbers = torch.randn(*shape, generator=generator) * scale
    return numbers.to(torch.float16).float()


def random_weight(name, shape, generator):
    """A tensor for `name`. Biases and position tables are large enough that an error in them shows."""
    if name.endswith("LayerNorm.weight"):
        return (1 + normal(generator, *shape, scale=0.2)).to(torch.float16).float()
    if name.endswith("bias"):
        return normal(generator, *shape, scale=0.05)
    if name.endswith("rel_embeddings.weight"):
        return normal(generator, *shape, scale=0.5)
    if "embeddings" in name:
        return normal(generator, *shape, scale=1.0)
    if "query_proj" in name or "key_proj" in name:
        return normal(generator, *shape, scale=2.0 / shape[-1] ** 0.5)
    fan_in = shape[1] * (shape[2] if len(shape) == 3 else 1)
    return normal(generator, *shape, scale=1.0 / fan_in**0.5)


def build(config, architecture, labels, seed):
    """A model of `architecture` whose every tensor comes from `seed`."""
    settings = transformers.DebertaV2Config.from_dict({**config, "num_labels": labels})
    settings._attn_implementation = "eager"
    model = getattr(transformers, architecture)(settings).eval().float()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            parameter.copy_(random_weight(name, tuple(parameter.shape), generator))
    return model


class TaskEmbedding:
    """Adds a vector to the word-embedding output at position 0, in training's own place."""

    def __init__(self, model, vector):
        self.words = model.get_input_embeddings()
        self.vector = vector

    def __enter__(self):
        self.handle = self.words.register_forward_hook(self.add) if self.vector is not None else None

    def add(self, _module, _inputs, output):
        output = output.clone()
        output[:, 0, :] += self.vector
        return output

    def __exit__(self, *_error):
        if self.handle is not None:
            self.handle.remove()


@torch.no_grad()
def logits(model, ids, types=None, task_embedding=None):
    """Logits of one sequence alone: `[labels]`, or `[tokens, labels]` for token classification."""
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    if types is not None:
        inputs["token_type_ids"] = torch.tensor([types])
    if isinstance(model, transformers.DebertaV2ForMultipleChoice):
        inputs = {name: value[:, None] for name, value in inputs.items()}
    with TaskEmbedding(model, task_embedding):
        return model(**inputs).logits[0]


@torch.no_grad()
def padded_logits(model, rows, task_embedding=None):
    """The same for several sequences padded to the longest, each cut back to its own tokens."""
    longest = max(len(row["ids"]) for row in rows)

    def padded(key, default):
        return torch.tensor([row.get(key, default(row)) + [0] * (longest - len(row["ids"])) for row in rows])

    inputs = {
        "input_ids": padded("ids", lambda row: row["ids"]),
        "attention_mask": padded("mask", lambda row: [1] * len(row["ids"])),
        "token_type_ids": padded("types", lambda row: [0] * len(row["ids"])),
    }
    if isinstance(model, transformers.DebertaV2ForMultipleChoice):
        inputs = {name: value[:, None] for name, value in inputs.items()}
    with TaskEmbedding(model, task_embedding):
        found = model(**inputs).logits
    if isinstance(model, transformers.DebertaV2ForTokenClassification):
        return [answer[: len(row["ids"])] for row, answer in zip(rows, found)]
    return list(found)


def stored_tensors(model, dtype, names="current"):
    """The state dict as a checkpoint holds it: element type and naming as asked for."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        if names == "bare":
            name = name.removeprefix("deberta.")
        if names == "legacy":
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        tensors[name] = tensor.to(STORED[dtype]).contiguous().clone()
    return tensors


def same_after_storing(model, dtype):
    """Rounds the model's own tensors to what `dtype` can hold, so that both sides see equal numbers."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(STORED[dtype]).float())


def write_tensors(tensors, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(sorted(tensors.items())), path, metadata={"format": "pt"})
    path.chmod(0o644)


def write_json(value, path):
    """Compact JSON, one entry of the outer object or list a line."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    compact = {"ensure_ascii": False, "separators": (",", ":")}
    if isinstance(value, dict):
        lines = [f"{json.dumps(key)}:{json.dumps(entry, **compact)}" for key, entry in value.items()]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
    else:
        text = "[\n" + ",\n".join(json.dumps(entry, **compact) for entry in value) + "\n]\n"
    path.write_text(text, encoding="utf-8")


def numbers(tensor):
    """A tensor as nested lists whose decimal form gives back the same float32."""
    if tensor.dim() == 0:
        return float(f"{tensor.item():.9g}")
    return [numbers(part) for part in tensor]
