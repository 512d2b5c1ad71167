"""Tokens of the real texts: the Python fast tokenizer beside ours, line by line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import lines
import make_tokenizer_goldens
import programs
import tokenizer_files
from tokenizers import Tokenizer

STARTER = programs.ROOT / "registry" / "starter" / "encoder" / "tokenizer.json"


def data_texts():
    """Every string of the data sets in HEADWATER_TEXTS, once."""
    folder = os.environ.get("HEADWATER_TEXTS")
    if not folder:
        print("HEADWATER_TEXTS is not set: generated lines only")
        return []
    texts = {}
    for path in sorted(Path(folder).glob("*/*.jsonl")):
        with path.open(encoding="utf-8") as rows:
            for row in map(json.loads, rows):
                found = [row.get("text"), row.get("text_pair"), *row.get("choices", []), " ".join(row.get("tokens", []))]
                texts.update((text, None) for text in found if text)
    return list(texts)


def ours(folder, texts, limit):
    """What the project's tokenizer makes of `texts`, through the encoder crate's example program."""
    asked = "".join(json.dumps(text) + "\n" for text in texts)
    command = [str(programs.program("examples/tokenize")), str(folder), str(limit)]
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if done.returncode != 0:
        sys.exit(f"the tokenize example ended with {done.returncode}")
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def compare_one(name, folder, texts):
    """Whole texts, and consecutive texts as pairs cut to 128 tokens."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    pairs = [[text, other] for text, other in zip(texts[::2], texts[1::2])]
    for what, sides_of, limit in [("texts", [[text] for text in texts], 1_000_000), ("pairs", pairs, 128)]:
        tokenizer.enable_truncation(limit, strategy="longest_first", direction="right")
        found = ours(folder, sides_of, limit)
        for sides, tokens in zip(sides_of, found, strict=True):
            expected = [list(entry) for entry in make_tokenizer_goldens.tokens(tokenizer.encode(*sides), sides)]
            if tokens != expected:
                sys.exit(f"{name}: {sides!r}\n  ours      {tokens}\n  reference {expected}")
        print(f"{name}: {len(sides_of)} {what} have equal ids, words and offsets", flush=True)


def compare(folder):
    """The pipeline with the whole NFKC character map, and the starter's own tokenizer."""
    given = lines.table()
    texts = [lines.line(given, number) for number in range(given["count"])] + data_texts()
    published = folder / "published"
    tokenizer_files.write(
        tokenizer_files.published_unigram(4000, full_charsmap=True), published / "tokenizer.json"
    )
    compare_one("unigram with the whole character map", published, texts)
    if STARTER.exists():
        compare_one("the starter's tokenizer", STARTER.parent, texts)
