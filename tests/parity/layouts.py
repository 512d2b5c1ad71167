"""Tiny checkpoints in the four layouts in which this family is published, with golden answers for text."""

import json

import torch

import layout_cases
import reference
import tokenizer_files
from configurations import BASE, CHOICE, SEQUENCE, TOKEN

HIDDEN = 16
LIMIT = 48
NLI = ["entailment", "neutral", "contradiction"]

# Task, kind, labels, and `classifiers_size` in the forms found in the wild, one of them simply wrong.
TASKS = [
    ("glue/mnli", "classification", 3, 3),
    ("tweet_eval/irony", "classification", 2, [2, HIDDEN]),
    ("glue/stsb", "regression", 1, [HIDDEN, 1]),
    ("swag/regular", "multiple_choice", 1, [1, HIDDEN]),
    ("hh-rlhf", "reward", 1, 1),
    ("conll2003/ner_tags", "token_classification", 9, [9, HIDDEN]),
    ("own/sixteen", "classification", HIDDEN, [HIDDEN, HIDDEN]),
    ("own/rating", "regression", 1, 1),
    ("own/wrong-size", "classification", 5, 4),
    ("WANLI", "classification", 3, [HIDDEN, 3]),
]

LABELS = {
    "glue/mnli": NLI,
    "tweet_eval/irony": ["non_irony", "irony"],
    "conll2003/ner_tags": ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"],
    "WANLI": NLI,
}


def tiny(tokenizer, **keys):
    """A config for `tokenizer`: as in the published files, the table has more rows than the vocabulary."""
    return {
        **BASE,
        "hidden_size": HIDDEN,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "max_position_embeddings": LIMIT,
        "vocab_size": tokenizer.get_vocab_size() + 3,
        **keys,
    }


def named(labels):
    return {
        "id2label": {str(at): label for at, label in enumerate(labels)},
        "label2id": {label: at for at, label in enumerate(labels)},
    }


def write_pickle(tensors, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path)


def write_tokenizer(tokenizer, folder, **settings):
    """`tokenizer.json`, and the config beside it that carries the length limit."""
    found = tokenizer_files.write(tokenizer, folder / "tokenizer.json")
    settings = {"model_max_length": LIMIT, "tokenizer_class": "DebertaV2Tokenizer", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return found


def multi_task(seed):
    """Random task embeddings and linear layers; tasks with equal labels share their weight, not their bias."""
    generator = torch.Generator().manual_seed(seed)
    table = reference.normal(generator, len(TASKS), HIDDEN, scale=0.7)
    layers, shared = [], {}
    for task, _, labels, _ in TASKS:
        key = tuple(LABELS.get(task, [task]))
        weight = shared.setdefault(key, reference.normal(generator, labels, HIDDEN, scale=HIDDEN**-0.5))
        layers.append((weight, reference.normal(generator, labels, scale=0.05)))
    return table, layers


def multi_task_answers(model, tokenizer, table, layers, seed):
    cases = []
    for at, (task, kind, _, _) in enumerate(TASKS):
        head = layout_cases.with_head(model, *layers[at], kind)
        cases += layout_cases.answers(head, tokenizer, LIMIT, task, kind, seed + at, table[at])
    return cases


def one_file(folder):
    """Layout A: the encoder, its NLI head and every task in one file."""
    tokenizer = tokenizer_files.published_unigram(260)
    tokenizer = write_tokenizer(tokenizer, folder)
    config = tiny(tokenizer, architectures=[SEQUENCE], **named(NLI))
    model = reference.build(config, SEQUENCE, 3, 71)
    reference.same_after_storing(model, "float16")
    table, layers = multi_task(72)
    tensors = reference.stored_tensors(model, "float16")
    tensors["Z.weight"] = table.half()
    for at, (weight, bias) in enumerate(layers):
        tensors[f"classifiers.{at}.weight"] = weight.half().clone()
        tensors[f"classifiers.{at}.bias"] = bias.half()
    reference.write_tensors(tensors, folder / "model.safetensors")
    config["tasks"] = [task for task, *_ in TASKS]
    config["classifiers_size"] = [size for *_, size in TASKS]
    reference.write_json(dict(sorted(config.items())), folder / "config.json")
    cases = multi_task_answers(model, tokenizer, table, layers, 73)
    # The NLI classifier that the file itself carries, without a task embedding.
    cases += layout_cases.answers(model, tokenizer, LIMIT, None, "classification", 74)
    reference.write_json(cases, folder / "golden.json")


def model_and_adapters(folder):
    """Layout B: an NLI model, and adapters saved as a pickle: `Z` as it is now, and as it was in early 2023."""
    tokenizer = write_tokenizer(tokenizer_files.published_unigram(260), folder / "model")
    config = tiny(tokenizer, architectures=[SEQUENCE], type_vocab_size=2, **named(NLI))
    model = reference.build(config, SEQUENCE, 3, 81)
    reference.same_after_storing(model, "float16")
    reference.write_tensors(reference.stored_tensors(model, "float16"), folder / "model" / "model.safetensors")
    reference.write_json(dict(sorted(config.items())), folder / "model" / "config.json")
    table, layers = multi_task(82)
    adapters = torch.nn.Module()
    adapters.Z = torch.nn.Parameter(table)
    adapters.classifiers = torch.nn.ModuleList()
    for weight, bias in layers:
        linear = torch.nn.Linear(HIDDEN, len(bias))
        linear.weight, linear.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
        adapters.classifiers.append(linear)
    settings = {
        **config,
        **named(LABELS[TASKS[0][0]]),
        "tasks": [task for task, *_ in TASKS],
        "classifiers_size": [size for *_, size in TASKS],
        "labels_list": [LABELS.get(task, []) for task, *_ in TASKS],
    }
    # A module's own state dict carries `_metadata`, as real files do; the older form is a plain dict.
    forms = {"adapters": adapters.state_dict(), "adapters-transposed": dict(adapters.state_dict())}
    forms["adapters-transposed"]["Z"] = table.t().contiguous()
    for name, tensors in forms.items():
        write_pickle(tensors, folder / name / "pytorch_model.bin")
        reference.write_json(dict(sorted(settings.items())), folder / name / "config.json")
    reference.write_json(multi_task_answers(model, tokenizer, table, layers, 83), folder / "golden.json")


def fine_tuned(folder, tokenizer, architecture, kind, labels, *, pickled=False, **keys):
    """Layout C: what `save_pretrained` leaves of a fine-tuned model."""
    tokenizer = write_tokenizer(tokenizer, folder)
    config = tiny(tokenizer, architectures=[architecture], **named(labels), **keys)
    seed = 91 + sum(map(ord, folder.name))
    model = reference.build(config, architecture, 1 if kind == "multiple_choice" else len(labels), seed)
    reference.same_after_storing(model, "float16")
    if pickled:
        write_pickle(reference.stored_tensors(model, "float16"), folder / "pytorch_model.bin")
    else:
        reference.write_tensors(reference.stored_tensors(model, "float16"), folder / "model.safetensors")
    reference.write_json(dict(sorted(config.items())), folder / "config.json")
    cases = list(layout_cases.answers(model, tokenizer, LIMIT, None, kind, seed))
    reference.write_json(cases, folder / "golden.json")


def bare(folder, prefixed):
    """Layout D: an encoder from pre-training, with what pre-training leaves in the file."""
    tokenizer = write_tokenizer(tokenizer_files.published_unigram(260), folder)
    # The published encoders name no architecture.
    config = tiny(tokenizer)
    model = reference.build(config, "DebertaV2Model", 2, 101 + prefixed)
    reference.same_after_storing(model, "float16")
    tensors = reference.stored_tensors(model, "float16")
    if prefixed:
        tensors = {f"deberta.{name}": tensor for name, tensor in tensors.items()}
    junk = "lm_predictions.lm_head" if prefixed else "mask_predictions"
    tensors |= {
        f"{junk}.dense.weight": torch.zeros(HIDDEN, HIDDEN).half(),
        f"{junk}.LayerNorm.weight": torch.ones(HIDDEN).half(),
        f"{junk}.bias": torch.zeros(config["vocab_size"]).half(),
    }
    if prefixed:
        write_pickle(tensors, folder / "pytorch_model.bin")
    else:
        reference.write_tensors(tensors, folder / "model.safetensors")
    reference.write_json(dict(sorted(config.items())), folder / "config.json")
    reference.write_json(list(layout_cases.vectors(model, tokenizer, LIMIT, 103)), folder / "golden.json")


def make_all(folder):
    one_file(folder / "a-one-file")
    model_and_adapters(folder / "b-model-and-adapters")
    saved_for_training = tokenizer_files.published_unigram(260)
    saved_for_training.enable_truncation(20)
    saved_for_training.enable_padding(length=24)
    fine_tuned(folder / "c-sequence", saved_for_training, SEQUENCE, "classification", NLI[::-1])
    fine_tuned(
        folder / "c-multi-label",
        tokenizer_files.current_unigram(260),
        SEQUENCE,
        "multi_label",
        ["joy", "anger", "fear", "love"],
        problem_type="multi_label_classification",
    )
    fine_tuned(
        folder / "c-multiple-choice",
        tokenizer_files.wordpiece(300),
        CHOICE,
        "multiple_choice",
        ["LABEL_0", "LABEL_1"],
        pickled=True,
    )
    fine_tuned(
        folder / "c-token",
        tokenizer_files.current_unigram(260),
        TOKEN,
        "token_classification",
        LABELS["conll2003/ner_tags"],
    )
    fine_tuned(folder / "c-regression", tokenizer_files.wordpiece(300), SEQUENCE, "regression", ["LABEL_0"])
    bare(folder / "d-prefixed", prefixed=True)
    bare(folder / "d-bare", prefixed=False)
