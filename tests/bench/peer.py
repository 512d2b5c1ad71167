"""One peer as a process: reads questions as JSON lines and answers them, as `headwater-server bench --drive` does.

    python tests/bench/peer.py eager|onnxruntime|openvino fp32|bf16|int8 MODEL THREADS

{"op": "info"}, {"op": "forward", "rows": [[ids], ...], "repeat": n} -> {"ms": [...]}, {"op": "logits", "rows": ...}.
Rows are padded to the longest, which is what these engines need; making the arrays is not in the times.
"""

import json
import sys
import time

import numpy

PAD = 0


def padded(rows):
    longest = max(map(len, rows))
    ids = numpy.full((len(rows), longest), PAD, dtype=numpy.int64)
    mask = numpy.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
        mask[at, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


class Eager:
    """transformers as installed, with the attention that this model has there."""

    def __init__(self, precision, path, threads):
        import torch
        import transformers

        self.torch = torch
        torch.set_num_threads(threads)
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        model = transformers.AutoModelForSequenceClassification.from_pretrained(path, dtype=kind)
        self.model = model.eval()
        self.version = f"transformers {transformers.__version__}, torch {torch.__version__}"

    def prepared(self, rows):
        return {name: self.torch.from_numpy(array) for name, array in padded(rows).items()}

    def run(self, inputs):
        with self.torch.inference_mode():
            return self.model(**inputs).logits.float().numpy()


class OnnxRuntime:
    """ONNX Runtime's CPU provider; its threads are set, everything else is its default."""

    def __init__(self, _precision, path, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.version = f"onnxruntime {onnxruntime.__version__}"

    def prepared(self, rows):
        return padded(rows)

    def run(self, inputs):
        return self.session.run(None, inputs)[0]


class OpenVino:
    """OpenVINO's CPU plugin, tuned for one request at a time, in the precision asked for."""

    def __init__(self, precision, path, threads):
        import openvino

        hints = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        }
        compiled = openvino.Core().compile_model(openvino.convert_model(path), "CPU", hints)
        self.request = compiled.create_infer_request()
        used = compiled.get_property("INFERENCE_PRECISION_HINT")
        self.version = f"openvino {openvino.get_version().split('-')[0]}, {used}"

    def prepared(self, rows):
        return padded(rows)

    def run(self, inputs):
        self.request.infer(inputs)
        return self.request.get_output_tensor(0).data


def answer(question, peer):
    if question["op"] == "info":
        return {"version": peer.version}
    inputs = peer.prepared(question["rows"])
    if question["op"] == "logits":
        return {"logits": peer.run(inputs).astype(float).tolist()}
    ms = []
    for _ in range(question.get("repeat", 1)):
        started = time.perf_counter()
        peer.run(inputs)
        ms.append((time.perf_counter() - started) * 1e3)
    return {"ms": ms}


def main():
    kind, precision, path, threads = sys.argv[1:5]
    # What a library prints is no answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    peer = {"eager": Eager, "onnxruntime": OnnxRuntime, "openvino": OpenVino}[kind](precision, path, int(threads))
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), peer)
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is its answer
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
