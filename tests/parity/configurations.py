"""The checkpoints of the parity fixtures: one entry per configuration that the encoder must read.

Each entry overrides the keys of `BASE`; a key set to `ABSENT` is left out of config.json, so that
the reader's own default is what is tested.
"""

ABSENT = object()

SEQUENCE = "DebertaV2ForSequenceClassification"
CHOICE = "DebertaV2ForMultipleChoice"
TOKEN = "DebertaV2ForTokenClassification"

BASE = {
    "model_type": "deberta-v2",
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 24,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-7,
    "max_position_embeddings": 32,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "pooler_dropout": 0,
    "pooler_hidden_act": "gelu",
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "position_buckets": 8,
    "relative_attention": True,
    "share_att_key": True,
    "type_vocab_size": 0,
    "vocab_size": 120,
}

# With 8 buckets over 32 positions the buckets turn logarithmic past a distance of 4 and saturate
# at 32, so short rows cross every boundary that 256 buckets over 512 positions have.
SHORT = (1, 2, 3, 4, 5, 6, 9, 16, 31, 32, 33, 64)
BRIEF = (1, 2, 3, 16, 33)
REAL = (1, 2, 3, 16, 64, 128, 129, 130, 256, 511, 512, 530)


class Checkpoint:
    """One fixture: its name, the config keys it changes, and how it is written and probed."""

    def __init__(self, name, keys, *, architecture=SEQUENCE, labels=3, lengths=SHORT, **shape):
        self.name = name
        self.architecture = architecture
        self.labels = labels
        self.lengths = lengths
        # How the tensors are stored: float16, bfloat16 or float32.
        self.dtype = shape.pop("dtype", "float16")
        # How the tensors are named: "current", "legacy" (LayerNorm.gamma), or "bare" (no prefix).
        self.names = shape.pop("names", "current")
        # Extra tensors of other training stages that a reader must pass over.
        self.extra = shape.pop("extra", ())
        if shape:
            raise TypeError(f"unknown options {sorted(shape)}")
        self.config = {
            key: value for key, value in {**BASE, **keys}.items() if value is not ABSENT
        }
        self.config["architectures"] = [architecture]


CHECKPOINTS = [
    Checkpoint("v3-base", {"num_hidden_layers": 3}),
    Checkpoint(
        "v3-base-512",
        {
            "hidden_size": 16,
            "intermediate_size": 32,
            "max_position_embeddings": 512,
            "num_attention_heads": 2,
            "position_buckets": 256,
        },
        lengths=REAL,
    ),
    Checkpoint(
        "v3-xsmall",
        {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 6},
        dtype="bfloat16",
    ),
    Checkpoint(
        "v3-large",
        {
            "attention_head_size": 16,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_attention_heads": 2,
            "num_hidden_layers": 4,
            "pooler_hidden_size": 32,
        },
        extra=("lm_predictions.lm_head.bias", "mask_predictions.dense.bias", "deberta.embeddings.position_ids"),
    ),
    Checkpoint(
        "mdeberta",
        {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "vocab_size": 1000},
        labels=5,
    ),
    Checkpoint(
        "v2-xlarge-convolution",
        {"conv_act": "gelu", "conv_kernel_size": 3, "num_hidden_layers": 3},
    ),
    Checkpoint(
        "convolution-groups-tanh",
        {"conv_groups": 4, "conv_kernel_size": 5},
        architecture=CHOICE,
        labels=1,
    ),
    Checkpoint("c2p-only-list", {"pos_att_type": ["c2p"]}, lengths=BRIEF),
    Checkpoint(
        "p2c-only-own-projection",
        {"norm_rel_ebd": ABSENT, "pos_att_type": " P2C ", "share_att_key": False},
        lengths=BRIEF,
    ),
    Checkpoint(
        "c2p-only-own-projection",
        {"pos_att_type": "c2p", "share_att_key": ABSENT},
        lengths=BRIEF,
    ),
    Checkpoint("own-projections", {"norm_rel_ebd": "none", "pos_att_type": ["c2p", "p2c"], "share_att_key": False}),
    Checkpoint("no-position-terms", {"pos_att_type": ABSENT}, lengths=BRIEF),
    Checkpoint(
        "plain-distances",
        {"max_relative_positions": 24, "position_buckets": -1},
        lengths=(1, 2, 3, 16, 23, 24, 25, 26, 64),
    ),
    Checkpoint(
        "plain-distances-by-default",
        {"max_position_embeddings": 20, "position_buckets": ABSENT, "pos_att_type": ["p2c", "c2p"]},
        lengths=(1, 2, 3, 16, 20, 21, 40),
    ),
    Checkpoint(
        "buckets-narrower-than-distances",
        {"max_relative_positions": 40, "position_buckets": 11},
        lengths=(1, 2, 3, 16, 38, 39, 40, 41, 42, 64, 96),
    ),
    Checkpoint(
        "absolute-positions-only",
        {
            "max_position_embeddings": 40,
            "norm_rel_ebd": ABSENT,
            "position_biased_input": ABSENT,
            "relative_attention": False,
            "share_att_key": ABSENT,
        },
        lengths=(1, 2, 3, 16, 39, 40),
    ),
    Checkpoint(
        "narrow-embeddings",
        {"embedding_size": 20, "position_biased_input": True, "type_vocab_size": 2},
        lengths=(1, 2, 3, 16, 31, 32),
    ),
    Checkpoint("wide-embeddings", {"embedding_size": 40}, lengths=BRIEF, dtype="float32"),
    Checkpoint("token-types-multi-label", {"problem_type": "multi_label_classification", "type_vocab_size": 2}, labels=6),
    Checkpoint(
        "regression-gelu-new",
        {"hidden_act": "gelu_new", "problem_type": "regression"},
        labels=1,
        lengths=BRIEF,
        names="legacy",
    ),
    Checkpoint("relu-tanh-pooler", {"hidden_act": "relu", "pooler_hidden_act": "tanh"}, lengths=BRIEF),
    Checkpoint(
        "wide-epsilon-gelu-tanh",
        {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-3, "pooler_hidden_act": "gelu_new"},
        lengths=BRIEF,
    ),
    Checkpoint(
        "token-classification",
        {"type_vocab_size": 0},
        architecture=TOKEN,
        labels=5,
        lengths=(1, 2, 3, 16, 33, 64),
    ),
    Checkpoint(
        "token-classification-convolution",
        {"conv_act": "gelu", "conv_kernel_size": 3},
        architecture=TOKEN,
        labels=3,
        lengths=(1, 2, 3, 16, 33),
        names="bare",
    ),
    Checkpoint("one-layer-one-head", {"num_attention_heads": 1, "num_hidden_layers": 1}, lengths=BRIEF),
    Checkpoint(
        "one-layer-convolution",
        {"conv_act": "relu", "conv_kernel_size": 3, "num_hidden_layers": 1, "pad_token_id": 1},
        labels=2,
        lengths=BRIEF,
    ),
    # The norm is in the file though nothing uses it, and nothing tells one position from another.
    Checkpoint("no-positions-at-all", {"relative_attention": False, "z_steps": 2}, lengths=BRIEF),
]
