"""What is asked of an imported checkpoint: texts of every kind, with the reference's ids and logits."""

import random

import torch
import transformers

import reference
from words import sentence

# What a reward head of this name is asked with; the importer must know it.
PROMPTS = {"hh-rlhf": "Most helpful assistant answer:"}


def inputs(kind, seed):
    """Inputs of one task: short, literal special tokens, odd characters, and longer than the limit."""
    chance = random.Random(seed)
    short, other = sentence(chance, 5), sentence(chance, 7)
    long, longer = sentence(chance, 45), sentence(chance, 80)
    odd = "  A [CLS] in the text,\ttwo  spaces, [SEP] ｗｉｄｅ ﬁne café №1 😀 "
    if kind == "multiple_choice":
        return [
            {"text": short, "choices": [other, "yes", odd]},
            {"text": longer, "choices": ["no", long]},
        ]
    if kind == "reward":
        return [{"choices": [short, longer, odd]}]
    if kind == "token_classification":
        words = sentence(chance, 6).split()
        return [{"tokens": words}, {"tokens": [*words, "[CLS]", "naïve—café"] * 6}]
    singles = [{"text": short}, {"text": odd}, {"text": longer}]
    pairs = [{"text": other, "text_pair": odd}, {"text": longer, "text_pair": short}, {"text": long, "text_pair": longer}]
    return singles + pairs


def sequences(task, case):
    """The (text, pair) rows that one input becomes."""
    if "choices" in case:
        return [(case.get("text", PROMPTS.get(task)), choice) for choice in case["choices"]]
    if "tokens" in case:
        return [(case["tokens"], None)]
    return [(case["text"], case.get("text_pair"))]


def encode(tokenizer, text, pair, limit):
    """The fast tokenizer's own truncation: longest first, on the right."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit, strategy="longest_first", direction="right")
    return tokenizer.encode(text, pair, is_pretokenized=isinstance(text, list))


def answers(model, tokenizer, limit, task, kind, seed, task_embedding=None):
    """Cases of one task, with logits of every row flattened in row order, per mode."""
    modes = {"off": None} if task_embedding is None else {"on": task_embedding, "off": None}
    has_types = model.config.type_vocab_size > 0
    for case in inputs(kind, seed):
        rows = [encode(tokenizer, text, pair, limit) for text, pair in sequences(task, case)]
        found = {
            mode: [
                number
                for row in rows
                for number in reference.numbers(
                    reference.logits(model, row.ids, row.type_ids if has_types else None, embedding).flatten()
                )
            ]
            for mode, embedding in modes.items()
        }
        yield {"task": task, "kind": kind, **case, "ids": [row.ids for row in rows], "logits": found}


@torch.no_grad()
def with_head(model, weight, bias, kind):
    """The reference model of `kind` over the same encoder and pooler, with another linear layer."""
    architecture = {
        "token_classification": transformers.DebertaV2ForTokenClassification,
        "multiple_choice": transformers.DebertaV2ForMultipleChoice,
        "reward": transformers.DebertaV2ForMultipleChoice,
    }.get(kind, transformers.DebertaV2ForSequenceClassification)
    settings = transformers.DebertaV2Config.from_dict({**model.config.to_dict(), "num_labels": len(bias)})
    head = architecture(settings).eval()
    head.deberta = model.deberta
    if hasattr(head, "pooler"):
        head.pooler = model.pooler
    head.classifier.weight.copy_(weight)
    head.classifier.bias.copy_(bias)
    return head


@torch.no_grad()
def vectors(encoder, tokenizer, limit, seed):
    """Cases of a bare encoder: the last hidden state at position 0."""
    for case in inputs("classification", seed):
        row = encode(tokenizer, case["text"], case.get("text_pair"), limit)
        state = encoder(torch.tensor([row.ids]), torch.ones(1, len(row.ids), dtype=torch.long)).last_hidden_state
        yield {**case, "ids": [row.ids], "vector": reference.numbers(state[0, 0])}
