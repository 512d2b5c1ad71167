"""The encoder trained here against `transformers`, on random weights with large positions and biases."""

import torch

from .model import Encoder, hub_config

LENGTHS = (1, 2, 3, 17, 64, 65, 130, 300, 600)
TOLERANCE = 1e-4


def largest_difference():
    from transformers import DebertaV2Config, DebertaV2Model

    torch.manual_seed(0)
    vocabulary = 500
    mine = Encoder(vocabulary)
    for name, parameter in mine.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if name.endswith("LayerNorm.weight") else 0.0, 0.05)
    torch.nn.init.normal_(mine.encoder.rel_embeddings.weight, 0.0, 0.5)
    settings = hub_config(vocabulary)
    theirs = DebertaV2Model(DebertaV2Config(**{k: v for k, v in settings.items() if k not in ("architectures", "model_type")}))
    theirs.load_state_dict(mine.state_dict())
    theirs.eval()
    largest = 0.0
    for length in LENGTHS:
        ids = torch.randint(1, vocabulary, (3, length))
        if length > 3:
            ids[0, length // 2 :] = 0
        used = ids != 0
        with torch.no_grad():
            expected = theirs(ids, attention_mask=used.long()).last_hidden_state
            whole, first = mine(ids), mine(ids, first_only=True)
        largest = max(largest, float((whole - expected)[used].abs().max()), float((first[:, 0] - expected[:, 0]).abs().max()))
    return largest


def verify():
    largest = largest_difference()
    print(f"largest difference to transformers over lengths {LENGTHS}: {largest:.1e}")
    if largest > TOLERANCE:
        raise SystemExit(f"more than {TOLERANCE}: the training code and transformers disagree")
