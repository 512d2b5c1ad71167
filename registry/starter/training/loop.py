"""The training loop: one process, resumable at any time, with a schedule over time or over tokens."""

import json
import math
import os
import signal
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from . import data, evaluation, heads, pretrained

ENCODER_RATE, HEAD_RATE, POSITION_RATE = 3e-4, 1.5e-3, 2e-3
WARM_UP_STEPS = 150
FLOOR_RATE = 0.01
TEACHING_SHARE, TEACHING_WEIGHT = 0.08, 3.0
TYPICAL_ROWS = 70


class Teacher:
    """The base BERT itself: for the first steps its hidden states are the target, so that relative positions
    and the pooled vector learn from every token rather than from one label a row."""

    def __init__(self, base, base_ids, width, device):
        from transformers import BertModel
        from transformers.utils import logging

        logging.set_verbosity_error()
        self.model = BertModel.from_pretrained(base, add_pooling_layer=False).eval().to(device)
        self.base_ids = torch.tensor(base_ids, device=device)
        torch.manual_seed(1)
        self.reader = torch.nn.Linear(width, width).to(device)

    def loss(self, ids, states, pooled):
        """Mean squared error per layer in units of its variance, plus 1 - cosine to the sentence vector."""
        mask = ids != 0
        with torch.no_grad():
            out = self.model(self.base_ids[ids], attention_mask=mask.long(), output_hidden_states=True)
        total = 0.0
        for mine, theirs in zip(states, out.hidden_states[1:]):
            mine, theirs = mine[mask].float(), theirs[mask].float()
            total = total + F.mse_loss(mine, theirs) / theirs.var() / len(states)
        weight = mask.unsqueeze(-1) / mask.sum(1)[:, None, None]
        sentence = (out.hidden_states[-1].float() * weight).sum(1)
        return total + (1 - F.cosine_similarity(self.reader(pooled), sentence)).mean()


def optimizer_for(model, teacher):
    groups = {"encoder": [], "plain": [], "position": [], "head": []}
    for name, parameter in model.named_parameters():
        if name.startswith(("deberta.encoder.rel_embeddings", "deberta.encoder.LayerNorm")):
            groups["position"].append(parameter)
        elif not name.startswith("deberta"):
            groups["head"].append(parameter)
        else:
            groups["encoder" if parameter.dim() > 1 else "plain"].append(parameter)
    groups["head"] += teacher.reader.parameters()
    rates = {"encoder": ENCODER_RATE, "plain": ENCODER_RATE, "position": POSITION_RATE, "head": HEAD_RATE}
    described = [
        {"params": parameters, "lr": rates[name], "peak": rates[name], "weight_decay": 0.01 if name == "encoder" else 0.0}
        for name, parameters in groups.items()
    ]
    return torch.optim.AdamW(described, betas=(0.9, 0.98), eps=1e-8, fused=True)


def rate_factor(step, progress):
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm * max(FLOOR_RATE, 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class Run:
    def __init__(self, options):
        self.options = options
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.work = Path(options.work)
        self.work.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(options.seed)
        base = pretrained.fetch(options.base)
        described, encoder, base_ids = pretrained.prepare(base, options.data, options.seed)
        (self.work / "tokenizer.json").write_text(described, encoding="utf-8")
        self.tokenizer = evaluation.open_tokenizer(self.work / "tokenizer.json")
        self.tasks = data.load(options.data, self.tokenizer)
        self.model = heads.Starter(len(base_ids), self.tasks)
        heads.prior_bias(self.model)
        self.model.deberta = encoder
        self.model.to(self.device)
        self.teacher = Teacher(base, base_ids, encoder.geometry["hidden_size"], self.device)
        self.optimizer = optimizer_for(self.model, self.teacher)
        self.stream = data.Stream(self.tasks, options.batch_tokens, options.seed)
        self.step, self.tokens, self.seconds, self.rows = 0, 0, 0.0, 0
        self.checkpoint = self.work / "checkpoint.pt"
        if self.checkpoint.exists():
            self.restore()

    def restore(self):
        state = torch.load(self.checkpoint, map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.teacher.reader.load_state_dict(state["reader"])
        peaks = [(group["peak"], group["weight_decay"]) for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, (peak, decay) in zip(self.optimizer.param_groups, peaks):
            group["peak"], group["weight_decay"] = peak, decay
        self.stream.restore(state["stream"])
        self.step, self.tokens, self.seconds, self.rows = (state[k] for k in ("step", "tokens", "seconds", "rows"))
        self.log(f"resumed at step {self.step}, {self.tokens} tokens")

    def save(self):
        state = {
            "model": self.model.state_dict(),
            "reader": self.teacher.reader.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "stream": self.stream.state(),
            **{k: getattr(self, k) for k in ("step", "tokens", "seconds", "rows")},
        }
        unfinished = self.checkpoint.with_suffix(".part")
        torch.save(state, unfinished)
        os.replace(unfinished, self.checkpoint)

    def log(self, line):
        print(time.strftime("%H:%M:%S", time.gmtime()), line, flush=True)

    def progress(self):
        by_time = self.seconds / (60 * self.options.minutes) if self.options.minutes else 0.0
        by_tokens = self.tokens / self.options.tokens if self.options.tokens else 0.0
        return max(by_time, by_tokens)

    def teaching(self):
        """Weight of the teacher's loss: from 3 down to 0 over the first share of the run."""
        return TEACHING_WEIGHT * max(0.0, 1 - self.progress() / TEACHING_SHARE)

    def loss(self, batch, ids, owners):
        """(loss of the labels, that plus the teacher's while it teaches)."""
        spans = self.tasks[batch[0][0]].kind == "token_classification"
        teaching = self.teaching()
        kept = (torch.rand(len(owners), 1, device=self.device) >= heads.TASK_EMBEDDING_DROP).float()
        with torch.autocast(self.device.type, torch.bfloat16):
            embedding = self.model.task_embeddings[owners] * kept
            states = self.model.deberta(ids, embedding, every_layer=True, first_only=not spans and teaching == 0)
        hidden = states[-1]
        pooled = self.model.pool(hidden[:, 0])
        if spans:
            loss = heads.span_loss(self.model, hidden, owners, batch)
        else:
            loss = heads.pooled_loss(self.model, pooled, owners, batch)
        # Between a mean and a sum: short rows come in large batches and should count a little more than a mean allows.
        loss = loss / math.sqrt(len(batch) * TYPICAL_ROWS)
        if teaching == 0:
            return loss, loss
        with torch.autocast(self.device.type, torch.bfloat16):
            return loss, loss + teaching * self.teacher.loss(ids, states, pooled)

    def train_step(self, batch):
        ids, owners = heads.collate(batch, self.device)
        loss, total = self.loss(batch, ids, owners)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        factor = rate_factor(self.step, self.progress())
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += int((ids != 0).sum())
        self.rows += len(batch)
        return float(loss.detach())

    def glance(self):
        figures = evaluation.glance(self.model, self.tasks, self.device, self.options.evaluate_rows)
        self.log("validation " + json.dumps(figures))
        self.model.train()

    def train(self):
        stop = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.append(1))
        options = self.options
        saved = evaluated = logged = last = time.monotonic()
        losses, logged_tokens = [], self.tokens
        self.model.train()
        for batch in self.stream:
            if stop or self.progress() >= 1.0:
                break
            losses.append(self.train_step(batch))
            now = time.monotonic()
            self.seconds += now - last
            last = now
            if self.step % options.log_every == 0:
                rate = (self.tokens - logged_tokens) / (now - logged)
                mean = sum(losses) / len(losses)
                self.log(f"step {self.step} tokens {self.tokens} rows {self.rows} loss {mean:.3f} "
                         f"progress {self.progress():.3f} tokens/s {rate:.0f}")
                losses, logged, logged_tokens = [], now, self.tokens
            if now - saved > 60 * options.save_minutes:
                self.save()
                saved = now
            if now - evaluated > 60 * options.evaluate_minutes:
                self.glance()
                evaluated = time.monotonic()
        self.save()
        self.log(f"stopped at step {self.step}, {self.tokens} tokens, {self.seconds / 60:.1f} minutes")
