"""Heads exported for `transformers`, loaded there and asked what the server was asked.

    python tests/parity/exports.py

Every kind of head of the fixtures' multi-task checkpoint, with its task embedding, and heads with a LoRA adapter: the
server's logits and those of `AutoModelFor…` over the exported directory, each to 1e-4.
"""

import sys
import tempfile
from pathlib import Path

import torch
import transformers

import programs
import reference

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
TOLERANCE = 1e-4
LIMIT = 48

SEQUENCE = [{"text": "A spring fills the stream."}, {"text": "Two texts", "text_pair": "that stand together, and the second is longer"}]
CHOICES = [{"text": "Which one?", "choices": ["this", "that one over there", "neither of the two"]}]
TOKENS = [{"tokens": "Ada Lovelace met Charles Babbage in London".split()}]

TASKS = [
    ("glue/mnli", SEQUENCE),
    ("tweet_eval/irony", SEQUENCE),
    ("glue/stsb", SEQUENCE),
    ("swag/regular", CHOICES),
    ("hh-rlhf", CHOICES),
    ("conll2003/ner_tags", TOKENS),
    ("nli", SEQUENCE),
]
ADAPTERS = [("every-site", SEQUENCE), ("own-pooler", SEQUENCE), ("stabilised-tokens", TOKENS)]
MODELS = {
    "DebertaV2ForSequenceClassification": transformers.AutoModelForSequenceClassification,
    "DebertaV2ForMultipleChoice": transformers.AutoModelForMultipleChoice,
    "DebertaV2ForTokenClassification": transformers.AutoModelForTokenClassification,
}


@torch.no_grad()
def answer(folder, case):
    """What the exported model says to one input, flattened as the server's answers are."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    architecture = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    model, loading = MODELS[architecture].from_pretrained(folder, output_loading_info=True)
    left = {key: names for key, names in loading.items() if names}
    if left:
        sys.exit(f"{folder.name}: the package did not load all of it: {left}")
    model = model.eval()
    options = {"truncation": True, "max_length": LIMIT, "return_tensors": "pt"}
    if "tokens" in case:
        return model(**tokenizer(case["tokens"], is_split_into_words=True, **options)).logits.flatten()
    pairs = [(case["text"], choice) for choice in case.get("choices", [case.get("text_pair")])]
    logits = []
    for text, pair in pairs:
        row = dict(tokenizer(text, pair, **options))
        if architecture == "DebertaV2ForMultipleChoice":
            row = {name: value[:, None] for name, value in row.items()}
        logits.append(model(**row).logits.flatten())
    return torch.cat(logits)


def compare_task(address, task, cases, folder):
    """The largest difference of one task's logits."""
    programs.client(address, "heads", "export", task, folder, "--format", "transformers")
    largest = 0.0
    for case, found in zip(cases, programs.classify(address, task, cases, "on"), strict=True):
        expected, found = answer(folder, case), torch.tensor(programs.logits(found))
        if expected.shape != found.shape:
            sys.exit(f"{task}: {len(found)} logits, the exported model has {len(expected)}")
        largest = max(largest, (found - expected).abs().max().item())
    if not largest <= TOLERANCE:
        sys.exit(f"{task}: logits are off by {largest:.1e}")
    print(f"{task}: exported, loaded, largest difference {largest:.1e}", flush=True)


def compare(folder):
    """All of it, in a new `folder`."""
    folder.mkdir(parents=True)
    programs.server("import", FIXTURES / "layouts" / "a-one-file", "--data", folder / "data")
    with programs.serving(folder / "data") as address:
        for at, (task, cases) in enumerate(TASKS):
            compare_task(address, task, cases, folder / f"task-{at}")
    for name, cases in ADAPTERS:
        data, head = folder / f"data-{name}", folder / f"head-{name}"
        programs.server("import", FIXTURES / "adapters" / name / "model", "--data", data)
        adapter = FIXTURES / "adapters" / name / "adapter"
        programs.server("import-head", adapter, "--data", data, "--task", name, "--lora", "--out", head)
        with programs.serving(data) as address:
            programs.client(address, "heads", "install", head)
            compare_task(address, name, cases, folder / name)


def main():
    reference.one_thread()
    programs.build()
    with tempfile.TemporaryDirectory(prefix="headwater-exports-") as scratch:
        compare(Path(scratch) / "exports")


if __name__ == "__main__":
    main()
