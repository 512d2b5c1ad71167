"""Writes the checkpoint's encoder with its pooler and classifier as ONNX, in fp32 and in dynamic int8, for the peers.

    python tests/bench/export.py CHECKPOINT OUT

OUT gets `model.onnx` with dynamic axes, `int8.onnx`, and `agreement.json`: how far the fp32 one is from eager
`transformers` over several shapes, which must be at most 1e-4.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModelForSequenceClassification

TOLERANCE = 1e-4
# Batch, tokens; none of them is the shape that the export saw.
SHAPES = [(1, 16), (1, 64), (3, 37), (2, 128), (2, 300), (1, 512)]
SEEN = (2, 21)


class Logits(torch.nn.Module):
    """The model as a function of two tensors."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def main():
    checkpoint, out = map(Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    vocabulary = model.config.vocab_size
    exported = out / "model.onnx"
    export(Logits(model).eval(), vocabulary, exported)
    largest = agreement(model, vocabulary, exported)
    print(f"export: logits within {largest:.1e} of eager transformers over {len(SHAPES)} shapes", flush=True)
    if largest > TOLERANCE:
        sys.exit(f"export: the exported model is {largest} away from eager transformers; {TOLERANCE} is the most")
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        quantised = Path(scratch) / "int8.onnx"
        quantize_dynamic(exported, quantised, weight_type=QuantType.QInt8, per_channel=True)
        quantised.replace(out / "int8.onnx")
    # Written last: whoever finds it finds everything.
    (out / "agreement.json").write_text(json.dumps({"largest_difference": largest, "shapes": SHAPES}) + "\n")


def inputs(shape, vocabulary):
    ids = numpy.random.default_rng(shape[0] * 1_000 + shape[1]).integers(5, vocabulary, shape)
    return {"input_ids": ids, "attention_mask": numpy.ones(shape, dtype=numpy.int64)}


def export(model, vocabulary, path):
    """The exporter that traces: both axes stay open, and scripted functions of the model become nodes of the graph."""
    example = tuple(torch.from_numpy(array) for array in inputs(SEEN, vocabulary).values())
    axes = {0: "batch", 1: "tokens"}
    with torch.no_grad():
        torch.onnx.export(
            model,
            example,
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    onnx.checker.check_model(str(path))


def agreement(model, vocabulary, path):
    """The largest difference of a logit from eager."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    largest = 0.0
    for shape in SHAPES:
        arrays = inputs(shape, vocabulary)
        # A row that is shorter than the others: the mask must be in the graph, too.
        arrays["attention_mask"][-1, shape[1] - 3 :] = 0
        with torch.no_grad():
            expected = model(**{name: torch.from_numpy(array) for name, array in arrays.items()}).logits.numpy()
        found = session.run(None, arrays)[0]
        largest = max(largest, float(numpy.abs(found - expected).max()))
    return largest


if __name__ == "__main__":
    main()
