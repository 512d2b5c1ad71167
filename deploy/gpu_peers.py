"""One peer as a process that answers JSON lines, with `headwater-server bench --drive`'s questions.

    python deploy/gpu_peers.py PEER DEVICE fp32|fp16|bf16 CHECKPOINT

Times run from ids in pinned memory to pooled vectors on the host; making the arrays is not in them. Rows are padded to
the longest, or to a length that the peer has prepared itself for; `disentangled-packed` drops the padding again before
its layers.
"""

import json
import sys
import time

import torch
import transformers

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Eager:
    """transformers with its own attention."""

    def __init__(self, checkpoint, dtype, device):
        self.model = self.load(checkpoint, dtype).eval().to(device)
        self.device = torch.device(device)

    def load(self, checkpoint, dtype):
        kind = transformers.DebertaV2ForSequenceClassification
        return kind.from_pretrained(checkpoint, dtype=dtype, attn_implementation="eager")

    def prepared(self, rows):
        length = self.padded_length(max(map(len, rows)))
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        return tuple(part.pin_memory() if self.device.type == "cuda" else part for part in (ids, mask))

    def padded_length(self, longest):
        return longest

    @torch.inference_mode()
    def run(self, inputs):
        ids, mask = (part.to(self.device, non_blocking=True) for part in inputs)
        return self.pooled(ids, mask).float().cpu()

    def pooled(self, ids, mask):
        return self.model.pooler(self.hidden(ids, mask))

    def hidden(self, ids, mask):
        return self.model.deberta(input_ids=ids, attention_mask=mask).last_hidden_state

    def synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Graphed(Eager):
    """The same as one CUDA graph for each shape: a control, what is left of it when launches cost nothing."""

    def __init__(self, checkpoint, dtype, device):
        super().__init__(checkpoint, dtype, device)
        self.recorded = {}

    def prepared(self, rows):
        inputs = super().prepared(rows)
        if inputs[0].shape not in self.recorded:
            self.recorded[inputs[0].shape] = self.record(inputs)
        return inputs

    @torch.inference_mode()
    def record(self, inputs):
        static = [part.to(self.device) for part in inputs]
        with torch.cuda.stream(torch.cuda.Stream()):
            self.pooled(*static)  # libraries set themselves up outside the recording
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.pooled(*static)
        return static, graph, output

    @torch.inference_mode()
    def run(self, inputs):
        static, graph, output = self.recorded[inputs[0].shape]
        for own, part in zip(static, inputs):
            own.copy_(part, non_blocking=True)
        graph.replay()
        return output.float().cpu()


class FlashDeberta(Eager):
    """The `flashdeberta` package."""

    def load(self, checkpoint, dtype):
        import flashdeberta

        return flashdeberta.FlashDebertaV2ForSequenceClassification.from_pretrained(checkpoint, dtype=dtype)


class Disentangled(Eager):
    """The `disentangled-flash` package, rows padded to one of the lengths that it has prepared itself for."""

    LENGTHS = [16, 32, 64, 128, 192, 256, 384, 512]

    def __init__(self, checkpoint, dtype, device):
        super().__init__(checkpoint, dtype, device)
        import disentangled_flash

        self.package = disentangled_flash
        disentangled_flash.optimize_deberta(self.model.deberta, sequence_lengths=self.LENGTHS)

    def prepared(self, rows):
        inputs = super().prepared(rows)
        self.model.deberta.encoder.activate_shape(inputs[0].shape[1])
        return inputs

    def padded_length(self, longest):
        return next(length for length in self.LENGTHS if length >= longest)


class Packed(Disentangled):
    """The same with padding dropped between embeddings and layers."""

    def padded_length(self, longest):
        return longest

    def prepared(self, rows):
        return Eager.prepared(self, rows)

    def hidden(self, ids, mask):
        deberta = self.model.deberta
        embedded = deberta.embeddings(input_ids=ids, mask=mask)
        tokens, bounds, info = self.package.pack_padded_with_info(embedded, mask)
        output = deberta.encoder.forward_packed(
            tokens, bounds, info.max_seqlen, output_hidden_states=False, packed_info=info
        )
        return output.last_hidden_state[bounds[:-1].long()].unsqueeze(1)  # [rows, 1, hidden]: all the pooler reads


PEERS = {
    "eager": Eager,
    "eager-graphed": Graphed,
    "flashdeberta": FlashDeberta,
    "disentangled": Disentangled,
    "disentangled-packed": Packed,
}


def answer(peer, question):
    rows = question.get("rows", [])
    if question["op"] == "info":
        return {"vocabulary": peer.model.config.vocab_size, "version": transformers.__version__}
    inputs = peer.prepared(rows)
    if question["op"] == "pooled":
        return {"pooled": peer.run(inputs).tolist()}
    ms = []
    for _ in range(question.get("repeat", 1)):
        peer.synchronize()
        started = time.perf_counter()
        peer.run(inputs)
        peer.synchronize()
        ms.append((time.perf_counter() - started) * 1e3)
    return {"ms": ms}


def main():
    name, device, dtype, checkpoint = sys.argv[1:]
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.backends.cuda.matmul.allow_tf32 = False
    peer = PEERS[name](checkpoint, DTYPES[dtype], device)
    for line in sys.stdin:
        try:
            found = answer(peer, json.loads(line))
        except Exception as error:  # whatever a peer raises is its answer
            found = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
