"""The DeBERTa-v3 encoder as it is trained: same tensors as `transformers`, less arithmetic.

Positions are projected once per layer and batch for the distances that the batch can hold, and read through a
shifted view instead of a gather. Parameter names equal those of `transformers.DebertaV2Model`.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

GEOMETRY = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "position_buckets": 64,
    "layer_norm_eps": 1e-12,
}


def hub_config(vocab_size):
    """The `config.json` of the encoder, in the field names of `transformers`."""
    return {
        "model_type": "deberta-v2",
        "architectures": ["DebertaV2Model"],
        "vocab_size": vocab_size,
        **GEOMETRY,
        "max_relative_positions": -1,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "type_vocab_size": 0,
        "hidden_act": "gelu",
        "pooler_hidden_act": "gelu",
        "pooler_hidden_size": GEOMETRY["hidden_size"],
        "pooler_dropout": 0.0,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "pad_token_id": 0,
    }


def slot_table(length, buckets, max_distance):
    """Slot of every distance `-(length-1) .. length-1` (query minus key), as int64."""
    distance = torch.arange(-(length - 1), length)
    mid = buckets // 2
    near = (distance < mid) & (distance > -mid)
    capped = torch.where(near, torch.tensor(mid - 1), distance.abs())
    scale = torch.log(torch.tensor((max_distance - 1) / mid))
    far = torch.ceil(torch.log(capped / mid) / scale * (mid - 1)) + mid
    bucket = torch.where(capped <= mid, distance.float(), far * distance.sign()).long()
    return (bucket + buckets).clamp(0, 2 * buckets - 1)


def read_shifted(table, length):
    """[.., S, 2S-1] indexed by `j - i + S - 1` becomes [.., S, S] indexed by `i, j`."""
    if length == 1:
        return table
    flat = table.flatten(-2)[..., length - 1 : length - 1 + length * (2 * length - 2)]
    return flat.unflatten(-1, (length, 2 * length - 2))[..., :length]


class SelfAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query_proj = nn.Linear(width, width)
        self.key_proj = nn.Linear(width, width)
        self.value_proj = nn.Linear(width, width)


class Residual(nn.Module):
    def __init__(self, width_in, width, eps):
        super().__init__()
        self.dense = nn.Linear(width_in, width)
        self.LayerNorm = nn.LayerNorm(width, eps)


class Intermediate(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.dense = nn.Linear(width, inner)


class Layer(nn.Module):
    def __init__(self, geometry):
        super().__init__()
        width, inner, eps = geometry["hidden_size"], geometry["intermediate_size"], geometry["layer_norm_eps"]
        self.heads = geometry["num_attention_heads"]
        self.size = width // self.heads
        self.attention = nn.Module()
        self.attention.self = SelfAttention(width)
        self.attention.output = Residual(width, width, eps)
        self.intermediate = Intermediate(width, inner)
        self.output = Residual(inner, width, eps)

    def attend(self, x, relative, slots, mask_bias):
        batch, length, width = x.shape
        own = self.attention.self
        weight = torch.cat([own.query_proj.weight, own.key_proj.weight, own.value_proj.weight])
        bias = torch.cat([own.query_proj.bias, own.key_proj.bias, own.value_proj.bias])
        query, key, value = F.linear(x, weight, bias).view(batch, length, 3, self.heads, self.size).unbind(2)
        positions = F.linear(relative, weight[: 2 * width], bias[: 2 * width]).view(-1, 2, self.heads, self.size)
        # Row d of both tables is distance (length-1) - d, so that `read_shifted` finds j - i + length - 1.
        positions = positions[slots].permute(1, 2, 3, 0)
        position_query, position_key = positions[0], positions[1]

        def over_distances(content, position):
            rows = content.permute(2, 0, 1, 3).reshape(self.heads, batch * length, self.size)
            table = torch.bmm(rows, position).view(self.heads, batch, length, 2 * length - 1)
            return read_shifted(table, length)

        content_to_position = over_distances(query, position_key)
        # Indexed by key first, where the distance query - key runs the other way.
        position_to_content = over_distances(key, position_query.flip(-1))
        score = torch.matmul(query.transpose(1, 2), key.permute(0, 2, 3, 1))
        score = score + content_to_position.transpose(0, 1) + position_to_content.permute(1, 0, 3, 2)
        score = score * (1 / math.sqrt(3 * self.size))
        if mask_bias is not None:
            score = score + mask_bias
        weights = torch.softmax(score, -1, dtype=torch.float32).to(value.dtype)
        return torch.matmul(weights, value.transpose(1, 2)).transpose(1, 2).reshape(batch, length, width)

    def attend_first(self, x, relative, slots, mask_bias):
        """Context of position 0 alone, [B,1,H]: all that the last layer owes a pooled head."""
        batch, length, width = x.shape
        own = self.attention.self

        def by_head(projected):
            return projected.unflatten(-1, (self.heads, self.size))

        query = by_head(own.query_proj(x[:, 0]))
        key, value = by_head(own.key_proj(x)), by_head(own.value_proj(x))
        # Query 0 minus key j is -j: the second half of the table, which runs from high distances to low.
        reached = relative[slots[length - 1 :]]
        position_query, position_key = by_head(own.query_proj(reached)), by_head(own.key_proj(reached))
        score = torch.einsum("bad,bjad->baj", query, key) + torch.einsum("bad,jad->baj", query, position_key)
        score = score + torch.einsum("bjad,jad->baj", key, position_query)
        score = score * (1 / math.sqrt(3 * self.size))
        if mask_bias is not None:
            score = score + mask_bias[:, 0]
        weights = torch.softmax(score, -1, dtype=torch.float32).to(value.dtype)
        return torch.einsum("baj,bjad->bad", weights, value).reshape(batch, 1, width)

    def forward(self, x, relative, slots, mask_bias, first_only=False):
        attend = self.attend_first if first_only else self.attend
        context = attend(x, relative, slots, mask_bias)
        out = self.attention.output
        y = out.LayerNorm(out.dense(context) + (x[:, :1] if first_only else x))
        return self.output.LayerNorm(self.output.dense(F.gelu(self.intermediate.dense(y))) + y)


class Encoder(nn.Module):
    """`DebertaV2Model`: [B,S] ids to [B,S,H] hidden states; the task embedding is added at position 0."""

    def __init__(self, vocab_size, geometry=GEOMETRY):
        super().__init__()
        self.geometry = geometry
        width, eps = geometry["hidden_size"], geometry["layer_norm_eps"]
        self.embeddings = nn.Module()
        self.embeddings.word_embeddings = nn.Embedding(vocab_size, width, padding_idx=0)
        self.embeddings.LayerNorm = nn.LayerNorm(width, eps)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(Layer(geometry) for _ in range(geometry["num_hidden_layers"]))
        self.encoder.rel_embeddings = nn.Embedding(2 * geometry["position_buckets"], width)
        self.encoder.LayerNorm = nn.LayerNorm(width, eps)
        self.slots = {}

    def slots_for(self, length, device):
        if (length, device) not in self.slots:
            table = slot_table(length, self.geometry["position_buckets"], self.geometry["max_position_embeddings"])
            self.slots[length, device] = table.flip(0).to(device)
        return self.slots[length, device]

    def forward(self, ids, task_embedding=None, every_layer=False, first_only=False):
        """Hidden states of the last layer; of `every_layer`; or, with `first_only`, [B,1,H] of position 0."""
        mask = ids != 0
        x = self.embeddings.word_embeddings(ids)
        if task_embedding is not None:
            x = torch.cat([(x[:, 0] + task_embedding).unsqueeze(1), x[:, 1:]], 1)
        x = self.embeddings.LayerNorm(x)
        mask_bias = None
        if not bool(mask.all()):
            x = x * mask.unsqueeze(-1)
            mask_bias = torch.zeros(mask.shape, device=ids.device).masked_fill_(~mask, -1e9)[:, None, None, :]
        relative = self.encoder.LayerNorm(self.encoder.rel_embeddings.weight)
        slots = self.slots_for(ids.shape[1], ids.device)
        states = []
        last = len(self.encoder.layer) - 1
        for number, layer in enumerate(self.encoder.layer):
            x = layer(x, relative, slots, mask_bias, first_only and number == last)
            states.append(x)
        return states if every_layer else x
