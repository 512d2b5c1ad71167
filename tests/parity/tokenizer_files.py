"""Small tokenizers with the pipelines of the family: as published, as `transformers` 5 builds them, and BERT's."""

import io
import json
import random
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as spm
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertTokenizer, DebertaV2Tokenizer

from words import WORDS, sentence

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]


def corpus(n_sentences, seed=7):
    chance = random.Random(seed)
    return [sentence(chance, chance.randrange(3, 20)) for _ in range(n_sentences)]


def charsmap_rules():
    """A few hundred normalization rules of every sort that NFKC has, in SentencePiece's own table form."""
    sources = [chr(code) for block in [(0xFF01, 0xFF5F), (0xFB00, 0xFB07), (0x2160, 0x2170), (0xFF71, 0xFF9E),
                                      (0x3300, 0x3310), (0x1D400, 0x1D410), (0xFEF5, 0xFEFD), (0x2070, 0x207A)]
               for code in range(*block)]
    sources += list("²³½¼™…㍿℃№ªºµ")
    rules = {source: unicodedata.normalize("NFKC", source) for source in sources}
    for letter in "aeiouAEIOUnNcC":
        for accent in "\u0300\u0301\u0302\u0303\u0308\u0327":
            composed = unicodedata.normalize("NFC", letter + accent)
            if len(composed) == 1:
                rules[letter + accent] = composed
    rules |= {jamo: unicodedata.normalize("NFC", jamo) for jamo in ("\u1100\u1161", "\u1112\u1161\u11ab")}
    rules |= {space: " " for space in "\u00a0\u2000\u2003\u2009\u202f\u205f\u3000\t\n\r"}
    rules |= {gone: "" for gone in "\u0001\u0007\u007f\u00ad\u200b\ufeff"}
    return {source: target for source, target in rules.items() if source != target}


def train(vocab_size, rules=None, full_charsmap=False):
    """A SentencePiece model with DeBERTa's special pieces: (pieces with scores, precompiled character map)."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"normalization_rule_name": "nmt_nfkc" if full_charsmap else "identity"}
        if rules:
            path = Path(folder) / "rules.tsv"
            codes = lambda text: " ".join(f"{ord(char):X}" for char in text)
            path.write_text("".join(f"{codes(a)}\t{codes(b)}\n" for a, b in sorted(rules.items())))
            options = {"normalization_rule_tsv": str(path)}
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus(4000)),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            character_coverage=1.0,
            hard_vocab_limit=False,
            num_threads=1,
            pad_id=0, bos_id=1, eos_id=2, unk_id=3,
            pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]",
            minloglevel=2,
            **options,
        )
    proto = spm.ModelProto.FromString(model.getvalue())
    # Scores keep as many digits as tell two pieces apart, no more.
    pieces = [(piece.piece, round(piece.score, 5)) for piece in proto.pieces]
    return pieces, proto.normalizer_spec.precompiled_charsmap


def template(cls_id, sep_id):
    return processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls_id), ("[SEP]", sep_id)],
    )


def published_unigram(vocab_size, full_charsmap=False):
    """The pipeline in the `tokenizer.json` of the published DeBERTa-v3 descendants."""
    pieces, charsmap = train(vocab_size, None if full_charsmap else charsmap_rules(), full_charsmap)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(), normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(piece, normalized=piece == "[UNK]") for piece in SPECIAL])
    tokenizer.add_special_tokens([AddedToken("[MASK]", normalized=False)])
    tokenizer.post_processor = template(1, 2)
    return tokenizer


def current_unigram(vocab_size):
    """The pipeline that `transformers` 5 builds for DeBERTa-v2 and v3."""
    pieces, _ = train(vocab_size)
    pieces = [(piece, 0.0 if piece in SPECIAL else score) for piece, score in pieces]
    return DebertaV2Tokenizer(vocab=pieces)._tokenizer


def wordpiece(vocab_size):
    """BERT's pipeline, lower-cased and stripped of accents, over whole words, stems, endings and characters."""
    lowered = [unicodedata.normalize("NFD", word.lower()) for word in WORDS]
    lowered = ["".join(char for char in word if unicodedata.category(char) != "Mn") for word in lowered]
    characters = sorted({char for word in lowered for char in word} | set("abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()-"))
    endings = Counter(word[-n:] for word in lowered for n in (2, 3) if len(word) > n + 1)
    starts = Counter(word[:n] for word in lowered for n in (2, 3, 4) if len(word) > n + 1)
    ranked = lambda counts: [piece for piece, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary += characters + ["##" + char for char in characters]
    room = max(0, vocab_size - len(vocabulary))
    vocabulary += ranked(starts)[: room // 4] + ["##" + end for end in ranked(endings)[: room // 4]]
    vocabulary += [word for word in lowered if word not in vocabulary][: vocab_size - len(vocabulary)]
    vocabulary = list(dict.fromkeys(vocabulary))
    return BertTokenizer(vocab={piece: at for at, piece in enumerate(vocabulary)})._tokenizer


def write(tokenizer, path):
    """`tokenizer.json`, compact; the fast tokenizer read back from it is the reference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    path.write_text(text + "\n", encoding="utf-8")
    return Tokenizer.from_file(str(path))
