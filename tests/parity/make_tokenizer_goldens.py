"""Makes `tests/fixtures/tokenizer` again: three tokenizers and what the Python fast tokenizer does with 12,000 lines.

    python tests/parity/make_tokenizer_goldens.py

Every line is held by a digest of its ids, type ids, word numbers and byte offsets (the first four
bytes of SHA-256); some lines are also written out, to see what differs when a digest does.
"""

import hashlib
import shutil
import struct
from pathlib import Path

import lines
import reference
import tokenizer_files

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "tokenizer"
# The least that holds a token of each side, odd and even limits, and one that few pairs reach.
LIMITS = [5, 6, 8, 16, 33, 64, 200]
PAIRS = 3_000
WORD_LISTS = 2_000
WRITTEN_OUT = 60

TOKENIZERS = {
    "unigram-published": lambda: tokenizer_files.published_unigram(1200),
    "unigram-current": lambda: tokenizer_files.current_unigram(1200),
    "wordpiece": lambda: tokenizer_files.wordpiece(1500),
}


def byte_starts(text):
    """Where each code point of `text` starts in UTF-8, and where the last one ends."""
    starts = [0]
    for char in text:
        starts.append(starts[-1] + len(char.encode()))
    return starts


def tokens(encoding, sides):
    """One entry a token: id, type id, side, word, first byte, last byte; specials are on no side.

    A side is a text, or a list of words; then bytes count inside the word.
    """
    starts = [byte_starts(side) if isinstance(side, str) else [byte_starts(word) for word in side] for side in sides]
    found = []
    for token, type_id, side, word, (first, last) in zip(
        encoding.ids, encoding.type_ids, encoding.sequence_ids, encoding.word_ids, encoding.offsets
    ):
        if side is None:
            found.append((token, type_id, -1, 0, 0, 0))
        else:
            at = starts[side] if isinstance(sides[side], str) else starts[side][word]
            found.append((token, type_id, side, word, at[first], at[last]))
    return found


def digest(found):
    """The first four bytes of SHA-256 over the entries as little-endian 32-bit integers."""
    return hashlib.sha256(b"".join(struct.pack("<6i", *entry) for entry in found)).digest()[:4]


def make(name, given):
    folder = FIXTURES / name
    tokenizer = tokenizer_files.write(TOKENIZERS[name](), folder / "tokenizer.json")
    singles, words, pairs, written = bytearray(), bytearray(), bytearray(), []
    for number in range(given["count"]):
        text = lines.line(given, number)
        found = tokens(tokenizer.encode(text), [text])
        singles += digest(found)
        if number < WRITTEN_OUT:
            written.append({"text": text, "tokens": found})
    for number in range(WORD_LISTS):
        given_words = lines.words(given, number)
        words += digest(tokens(tokenizer.encode(given_words, is_pretokenized=True), [given_words]))
    for number in range(PAIRS):
        text, other = lines.pair(given, number)
        tokenizer.enable_truncation(LIMITS[number % len(LIMITS)], strategy="longest_first", direction="right")
        found = tokens(tokenizer.encode(text, other), [text, other])
        pairs += digest(found)
    tokenizer.no_truncation()
    (folder / "lines.digests").write_bytes(singles)
    (folder / "words.digests").write_bytes(words)
    (folder / "pairs.digests").write_bytes(pairs)
    reference.write_json(written, folder / "written-out.json")


def main():
    shutil.rmtree(FIXTURES, ignore_errors=True)
    given = lines.table()
    reference.write_json({**given, "pairs": PAIRS, "word_lists": WORD_LISTS, "limits": LIMITS}, FIXTURES / "lines.json")
    for name in TOKENIZERS:
        make(name, given)
        print(f"{name}: {given['count']} lines, {WORD_LISTS} word lists, {PAIRS} pairs")
    size = sum(path.stat().st_size for path in FIXTURES.rglob("*") if path.is_file())
    print(f"{size / 1e3:.0f} kB of tokenizer fixtures")


if __name__ == "__main__":
    main()
