"""The lines that both sides tokenize: made from a seed and a small table, here and in Rust alike.

Every step is integer arithmetic on a 64-bit xorshift generator, so that the two cannot differ. The
table (`lines.json`) holds characters of every Unicode category, blocks of scripts, words and
literals. `tests/torch/tokenizer/lines.rs` is the other half of this file.
"""

import random
import sys
import unicodedata

from words import WORDS

MASK = (1 << 64) - 1

# First and last code point of blocks that tokenizers treat each in their own way.
BLOCKS = [
    (0x0020, 0x007E), (0x00A0, 0x00FF), (0x0100, 0x024F), (0x0300, 0x036F), (0x0370, 0x03FF), (0x0400, 0x04FF),
    (0x0530, 0x058F), (0x0590, 0x05FF), (0x0600, 0x06FF), (0x0900, 0x097F), (0x0980, 0x09FF), (0x0B80, 0x0BFF),
    (0x0E00, 0x0E7F), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F),
    (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x2070, 0x209F), (0x20A0, 0x20CF), (0x2100, 0x218F), (0x2190, 0x22FF),
    (0x2460, 0x24FF), (0x2500, 0x25FF), (0x2600, 0x27BF), (0x3000, 0x303F), (0x3040, 0x30FF), (0x3300, 0x33FF),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFE00, 0xFE0F),
    (0xFE70, 0xFEFF), (0xFF00, 0xFFEF), (0xFFF9, 0xFFFF), (0x10000, 0x100FF), (0x1D400, 0x1D7FF),
    (0x1F1E6, 0x1F1FF), (0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF), (0x20000, 0x2A6DF), (0xE0000, 0xE007F),
    (0x10FFF0, 0x10FFFF),
]

LITERALS = [
    "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", " [CLS] ", "[cls]", "[SEP", "[[SEP]]", "▁", "▁▁", "##", "##ing",
    "\n", "\t", "\r\n", "  ", "    ", "\u00a0", "\u3000", "\u2028", "\u0000", "\ufeff", "\ufffd", "\u200b", "\u202e",
    "e\u0301", "\u1112\u1161\u11ab", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1eb\U0001f1f7", "1,234.56",
    "don't", "e-mail@example.org", "http://example.org/a?b=c&d", "C++", "#tag", "@user", "...", "?!", "“quoted”",
]


def table(seed=20260101, count=12_000):
    """What `lines.json` holds."""
    chance = random.Random(seed)
    by_category = {}
    for code in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(code))
        if category != "Cs":
            by_category.setdefault(category, []).append(code)
    categories = {
        name: "".join(map(chr, sorted(chance.sample(codes, min(len(codes), 80)))))
        for name, codes in sorted(by_category.items())
    }
    return {
        "seed": seed,
        "count": count,
        "categories": list(categories.values()),
        "blocks": BLOCKS,
        "literals": LITERALS,
        "words": WORDS,
    }


class Chance:
    """xorshift64*, seeded per line so that any line can be made alone."""

    def __init__(self, seed, line):
        self.state = ((seed ^ (line * 0x9E3779B97F4A7C15)) & MASK) or 1
        for _ in range(4):
            self.below(2)

    def below(self, limit):
        self.state ^= self.state >> 12
        self.state ^= (self.state << 25) & MASK
        self.state ^= self.state >> 27
        return ((self.state * 0x2545F4914F6CDD1D & MASK) >> 32) % limit

    def pick(self, items):
        return items[self.below(len(items))]


def block_run(given, chance, longest):
    """Characters of one script block; surrogates do not occur in the table."""
    first, last = chance.pick(given["blocks"])
    return "".join(chr(first + chance.below(last - first + 1)) for _ in range(1 + chance.below(longest)))


def category_run(given, chance, longest):
    characters = chance.pick(given["categories"])
    return "".join(chance.pick(characters) for _ in range(1 + chance.below(longest)))


def running_text(given, chance, most_words):
    parts = []
    for _ in range(1 + chance.below(most_words)):
        word = chance.pick(given["words"])
        if chance.below(8) == 0:
            word = word.upper()
        parts.append(word + chance.pick(["", "", "", "", ",", ".", "!", "'s", "?", ";"]))
    return " ".join(parts)


def line(given, number):
    """Line `number`: running text, one script, one category, or a mixture of everything."""
    chance = Chance(given["seed"], number)
    style = chance.below(5)
    if style == 0:
        return running_text(given, chance, 40)
    if style == 1:
        return " ".join(block_run(given, chance, 12) for _ in range(1 + chance.below(6)))
    if style == 2:
        return category_run(given, chance, 30)
    made = ""
    for _ in range(1 + chance.below(12)):
        sort = chance.below(6)
        if sort == 0:
            made += chance.pick(given["literals"])
        elif sort == 1:
            made += block_run(given, chance, 6)
        elif sort == 2:
            made += category_run(given, chance, 4)
        else:
            made += running_text(given, chance, 4)
        made += chance.pick(["", " ", " ", "  "])
    return made


def pair(given, number):
    """Pair `number`: sides of very different and of equal length, made of one to four lines."""
    chance = Chance(given["seed"] + 1, number)
    sides = []
    for _ in range(2):
        sides.append(" ".join(line(given, chance.below(given["count"])) for _ in range(1 + chance.below(4))))
    return sides


def words(given, number):
    """Word list `number`: a line cut at its spaces, as a caller who has split the text would give it."""
    return [word for word in line(given, number).split(" ") if word]
