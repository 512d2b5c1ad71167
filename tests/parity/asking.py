"""What is asked in other ways than row by row: zero-shot, rewards, long texts in windows, entities.

The checkpoints are those of `layouts`; the answers are those of the pipelines of `transformers`, or, where it has
none, of its models and tokenizers put together as its documentation does.
"""

import random

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers.pipelines.token_classification import AggregationStrategy

import layout_cases
import reference
from layouts import LABELS, LIMIT, NLI, TASKS
from words import sentence

ODD = "  A [CLS] in the text,\ttwo  spaces, [SEP] ｗｉｄｅ ﬁne café №1 😀 "


def fast_tokenizer(folder):
    """The tokenizer of a checkpoint, as the pipelines take it."""
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        model_max_length=LIMIT,
        model_input_names=["input_ids", "attention_mask"],
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
    )


def model_of(folder, architecture):
    return architecture.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def zero_shot(layouts):
    """Cases of the zero-shot pipeline: both places that entailment has in published heads, and one that it has not."""
    chance = random.Random(201)
    short, long = sentence(chance, 6), sentence(chance, 90)
    labels = ["sport", "money and trade", "café №1", "a label of five words"]
    templates = ["This example is {}.", "{} is it", "№1,\t😀 {}"]
    heads = [("a-one-file", NLI), ("c-sequence", NLI[::-1]), ("c-sequence", ["neutral", "Entailment", "contradiction"])]
    for checkpoint, names in heads:
        folder = layouts / checkpoint
        model = model_of(folder, transformers.DebertaV2ForSequenceClassification)
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: at for at, name in enumerate(names)}
        classify = transformers.pipeline("zero-shot-classification", model=model, tokenizer=fast_tokenizer(folder))
        for text in [short, ODD, long]:
            for template in templates:
                for candidates, multi_label in [(labels, False), (labels, True), (labels[:1], False)]:
                    found = classify(text, candidates, hypothesis_template=template, multi_label=multi_label)
                    yield {
                        "checkpoint": checkpoint,
                        "head_labels": names,
                        "text": text,
                        "candidate_labels": candidates,
                        "hypothesis_template": template,
                        "multi_label": multi_label,
                        "labels": found["labels"],
                        "scores": [float(f"{score:.9g}") for score in found["scores"]],
                    }


def rewards(layouts):
    """Rewards of the head of a multi-task checkpoint that has its own prompt, and of prompts in a caller's template."""
    folder = layouts / "a-one-file"
    tensors = load_file(folder / "model.safetensors")
    at = [task for task, *_ in TASKS].index("hh-rlhf")
    model = model_of(folder, transformers.DebertaV2ForSequenceClassification)
    weight, bias = (tensors[f"classifiers.{at}.{part}"].float() for part in ("weight", "bias"))
    model = layout_cases.with_head(model, weight, bias, "reward")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    chance = random.Random(211)
    short, long = sentence(chance, 6), sentence(chance, 70)
    answers = [sentence(chance, 9), ODD, sentence(chance, 60), "yes"]
    own = layout_cases.PROMPTS["hh-rlhf"]
    dialogue = "Human: {}\n\nAssistant:"
    cases = [("", None), (short, "{}"), (short, dialogue), (long, dialogue), ("", "Best answer:")]
    for prompt, template in cases:
        text = (own if template is None else template).replace("{}", prompt)
        rows = [layout_cases.encode(tokenizer, text, answer, LIMIT) for answer in answers]
        found = [reference.logits(model, row.ids, None, tensors["Z.weight"][at].float()).flatten() for row in rows]
        yield {
            "prompt": prompt,
            "prompt_template": template,
            "answers": answers,
            "rewards": [reference.numbers(logit)[0] for logit in found],
        }


def windows_of(tokenizer, text, pair):
    """Rows over the longer side that overlap by a quarter of the room, and where each begins on that side."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    split = isinstance(text, list)
    sides = [tokenizer.encode(side, is_pretokenized=split, add_special_tokens=False) for side in (text, pair) if side]
    lengths = [len(side.ids) for side in sides]
    longer = lengths.index(max(lengths))
    room = LIMIT - len(sides) - 1 - (sum(lengths) - lengths[longer])
    overlap = room // 4
    strategy = ("only_first", "only_second")[longer]
    tokenizer.enable_truncation(LIMIT, stride=overlap, strategy=strategy, direction="right")
    first = tokenizer.encode(text, pair, is_pretokenized=split)
    rows = [first, *first.overflowing]
    starts = [at * (room - overlap) for at in range(len(rows))]
    # A shorter side that leaves less than half the row is cut, which the reference does not do to it.
    assert len(rows) > 1 and starts[-1] < lengths[longer] and 2 * room >= LIMIT - len(sides) - 1
    return rows, [(start, min(start + room, lengths[longer])) for start in starts]


def judged(ranges, position):
    """The window in which a token has the most context on its shorter side; the earlier of two."""
    last = max(end for _, end in ranges)

    def context(at):
        start, end = ranges[at]
        left = position - start if start > 0 else last
        right = end - 1 - position if end < last else last
        return min(left, right)

    return max((at for at, (start, end) in enumerate(ranges) if start <= position < end), key=context)


def in_windows(layouts):
    """Long texts of every kind of row: the windows, and their logits combined in either way."""
    chance = random.Random(221)
    short, long, longer = sentence(chance, 2), sentence(chance, 20), sentence(chance, 40)
    sequence = transformers.DebertaV2ForSequenceClassification
    pairs = [{"text": longer, "text_pair": short}, {"text": short, "text_pair": long}]
    singles = [{"text": long}, {"text": longer}, *pairs]
    cases = [
        ("c-sequence", sequence, singles),
        ("c-multi-label", sequence, singles[:1]),
        ("c-regression", sequence, singles[1:3]),
        ("c-multiple-choice", transformers.DebertaV2ForMultipleChoice, [{"text": longer, "choices": [short, "yes"]}]),
    ]
    for checkpoint, architecture, inputs in cases:
        model = model_of(layouts / checkpoint, architecture)
        tokenizer = Tokenizer.from_file(str(layouts / checkpoint / "tokenizer.json"))
        for case in inputs:
            pairs = [(case["text"], choice) for choice in case.get("choices", [case.get("text_pair")])]
            ids, mean, largest = [], [], []
            for text, pair in pairs:
                rows, ranges = windows_of(tokenizer, text, pair)
                logits = torch.stack([reference.logits(model, row.ids).flatten() for row in rows]).double()
                weights = torch.tensor([end - start for start, end in ranges]).double()
                ids.append([row.ids for row in rows])
                mean += reference.numbers((weights[:, None] * logits).sum(0) / weights.sum())
                largest += reference.numbers(logits.max(0).values)
            yield {"checkpoint": checkpoint, **case, "ids": ids, "mean": mean, "max": largest}
    model = model_of(layouts / "c-token", transformers.DebertaV2ForTokenClassification)
    tokenizer = Tokenizer.from_file(str(layouts / "c-token" / "tokenizer.json"))
    for case in [{"text": long + ODD + short}, {"tokens": [*long.split(), "[CLS]", "naïve—café"]}]:
        rows, ranges = windows_of(tokenizer, case.get("text", case.get("tokens")), None)
        logits = [reference.logits(model, row.ids) for row in rows]
        judges = [(position, judged(ranges, position)) for position in range(ranges[-1][1])]
        of_text = [logits[at][1 + position - ranges[at][0]] for position, at in judges]
        merged = torch.cat([logits[0][:1], torch.stack(of_text), logits[-1][-1:]])
        yield {
            "checkpoint": "c-token",
            **case,
            "ids": [[row.ids for row in rows]],
            "logits": [float(f"{logit:.6g}") for logit in merged.flatten().tolist()],
        }


def places(text, words, encoding):
    """Where each word stands: as given, joined by spaces, or as the tokenizer found it, without space around it."""
    starts = [sum(len(word) + 1 for word in words[:at]) for at in range(len(words or []))]
    for word in sorted({word for word in encoding.word_ids if word is not None}):
        if words:
            yield starts[word], starts[word] + len(words[word])
        else:
            start, end = encoding.word_to_chars(word)
            yield end - len(text[start:end].lstrip()), start + len(text[start:end].rstrip())


def entities(layouts):
    """Entities of words that are judged at their first piece, as token heads are trained, merged by the pipeline."""
    folder = layouts / "c-token"
    model = model_of(folder, transformers.DebertaV2ForTokenClassification)
    model.config.id2label = dict(enumerate(LABELS["conll2003/ner_tags"]))
    pipeline = transformers.pipeline("token-classification", model=model, tokenizer=fast_tokenizer(folder))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    chance = random.Random(231)
    for n_words in [6, 9, 13, 4, 11]:
        text = sentence(chance, n_words)
        for words in (None, text.split()):
            encoding = layout_cases.encode(tokenizer, words or text, None, LIMIT)
            scores = reference.logits(model, encoding.ids).softmax(-1).numpy()
            judged_at = [encoding.word_ids.index(word) for word in sorted({*encoding.word_ids} - {None})]
            of_words = [
                {"scores": scores[at], "start": start, "end": end, "index": at, "word": text[start:end], "is_subword": False}
                for at, (start, end) in zip(judged_at, places(text, words, encoding), strict=True)
            ]
            found = pipeline.aggregate(of_words, AggregationStrategy.FIRST)
            spans = [
                [span["entity_group"], float(f"{float(span['score']):.9g}"), span["start"], span["end"]]
                for span in found
                if span["entity_group"] != "O"
            ]
            yield {**({"tokens": words} if words else {"text": text}), "spans": spans}


def make_all(layouts, folder):
    """Writes the goldens for the checkpoints in `layouts`."""
    for make in (zero_shot, rewards, in_windows, entities):
        reference.write_json(list(make(layouts)), folder / f"{make.__name__.replace('_', '-')}.json")
