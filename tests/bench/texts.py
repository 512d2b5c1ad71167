"""Sentences of known length in tokens: real ones from a folder of JSON lines, or made ones of a fixed distribution."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

import places

SEED = 20_251_123
SPECIAL = 2


@dataclass
class Sentence:
    text: str
    ids: list


class Texts:
    """All sentences there are, in a drawn order that is the same in every run."""

    def __init__(self, folder):
        self.tokenizer = Tokenizer.from_file(str(places.BUNDLE / "encoder/tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        drawn = "words drawn at random, lengths of a long-tailed distribution"
        self.source = "texts of data sets" if folder else drawn
        texts = real(folder) if folder else self.made(20_000)
        random.Random(SEED).shuffle(texts)
        encodings = self.tokenizer.encode_batch(texts)
        self.sentences = [Sentence(text, encoding.ids) for text, encoding in zip(texts, encodings)]

    def some(self, count, shortest, longest):
        """The first `count` sentences of `shortest` to `longest` tokens; fewer where there are no more."""
        fitting = (sentence for sentence in self.sentences if shortest <= len(sentence.ids) <= longest)
        return [sentence for sentence, _ in zip(fitting, range(count))]

    def of_length(self, tokens):
        """One sentence of exactly so many tokens."""
        words = self.words()
        for sentence in self.some(1, tokens, tokens):
            return sentence
        text = " ".join(words[: tokens - SPECIAL])
        return Sentence(text, self.tokenizer.encode(text).ids)

    def words(self):
        """Words that are one token each."""
        plain = (word for word in sorted(self.tokenizer.get_vocab()) if word.isascii() and word.isalpha())
        return [word for word in plain if word.islower() and len(self.tokenizer.encode(word).ids) == 1 + SPECIAL]

    def made(self, count):
        chance, words = random.Random(SEED), self.words()
        lengths = (min(300, 3 + int(chance.lognormvariate(3.0, 0.75))) for _ in range(count))
        return [" ".join(chance.choices(words, k=length)) for length in lengths]


def real(folder):
    """Every different `text` of the folder's files."""
    texts = {}
    for path in sorted(Path(folder).glob("*.jsonl")):
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                text = json.loads(line).get("text")
                if isinstance(text, str) and text.strip():
                    texts[text] = None
    return list(texts)
