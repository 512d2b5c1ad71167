"""Tasks, their rows as token ids, and the endless stream of mixed batches."""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

LENGTH_CAP = 128
LONG_CAPS = {"mctest/mc500": 320, "hh-rlhf/harmless-base": 448, "glue/rte": 192}

# Rows are drawn in proportion to size ** 0.5, times these factors. Short, many-label and span tasks are worth
# more steps than their size says; tasks beyond a model of this size, and very long ones, are worth fewer.
FACTORS = {
    "banking77": 1.8,
    "clinc_oos/plus": 1.8,
    "trec": 2.0,
    "conll2003/ner_tags": 1.7,
    "glue/sst2": 2.0,
    "tweet_eval/offensive": 1.2,
    "tweet_eval/emotion": 1.4,
    "sick/relatedness": 1.1,
    "sick/label": 1.1,
    "ag_news": 0.8,
    "go_emotions/simplified": 0.8,
    "tweet_eval/emoji": 0.5,
    "glue/rte": 0.3,
    "glue/wnli": 0.3,
    "codah/codah": 0.2,
    "mctest/mc500": 0.03,
    "hh-rlhf/harmless-base": 0.03,
}


@dataclass
class Task:
    name: str
    kind: str
    labels: list
    train: list = field(default_factory=list)
    validation: list = field(default_factory=list)
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def file_name(self):
        return self.name.replace("/", "__")

    @property
    def outputs(self):
        return max(1, len(self.labels))

    def set_scale(self, targets):
        """Mean and deviation by which a regression is trained; folded into its weights at export."""
        self.mean = sum(targets) / len(targets)
        self.deviation = (sum((target - self.mean) ** 2 for target in targets) / len(targets)) ** 0.5


def read_tasks(folder):
    described = json.loads((Path(folder) / "tasks.json").read_text())
    return [Task(name, entry["kind"], entry["labels"]) for name, entry in described.items()]


def read_rows(folder, split, task):
    with open(Path(folder) / split / f"{task.file_name}.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def texts_of(row):
    if "tokens" in row:
        return [" ".join(row["tokens"])]
    return [row["text"], *row.get("choices", []), *([row["text_pair"]] if row.get("text_pair") else [])]


def first_pieces(word_ids, labels):
    """One label per piece: the word's on its first piece, -100 elsewhere."""
    out, previous = [], None
    for word in word_ids:
        out.append(labels[word] if word is not None and word != previous else -100)
        previous = word
    return out


def encode_rows(tokenizer, task, rows, cap=None):
    """Each row becomes (token id sequences, target); a question with choices has one sequence per choice."""
    tokenizer.enable_truncation(cap or LONG_CAPS.get(task.name, LENGTH_CAP))
    encoded = []
    if task.kind == "token_classification":
        outputs = tokenizer.encode_batch([row["tokens"] for row in rows], is_pretokenized=True)
        for row, output in zip(rows, outputs):
            encoded.append(([output.ids], first_pieces(output.word_ids, row["labels"])))
    elif task.kind == "multiple_choice":
        for row in rows:
            outputs = tokenizer.encode_batch([(row["text"], choice) for choice in row["choices"]])
            encoded.append(([output.ids for output in outputs], row["label"]))
    else:
        inputs = [(row["text"], row["text_pair"]) if row.get("text_pair") else row["text"] for row in rows]
        for row, output in zip(rows, tokenizer.encode_batch(inputs)):
            encoded.append(([output.ids], row["labels"] if task.kind == "multi_label" else row["label"]))
    tokenizer.no_truncation()
    return encoded


def load(folder, tokenizer):
    """All tasks with their encoded rows; regression targets keep the data's scale."""
    tasks = read_tasks(folder)
    for task in tasks:
        for split in ("train", "validation"):
            setattr(task, split, encode_rows(tokenizer, task, read_rows(folder, split, task)))
        if task.kind == "multiple_choice":
            # Two choices that truncation made equal teach nothing.
            task.train = [row for row in task.train if len({tuple(ids) for ids in row[0]}) == len(row[0])]
        if task.kind == "regression":
            task.set_scale([target for _, target in task.train])
    return tasks


def cut_batches(rows, token_budget):
    """Rows (task, sequences, target), sorted by length and cut so that no padded batch exceeds the budget."""
    rows = sorted(rows, key=lambda row: max(len(ids) for ids in row[1]))
    batches, batch, sequences = [], [], 0
    for row in rows:
        longest = max(len(ids) for ids in row[1])
        if batch and (sequences + len(row[1])) * longest > token_budget:
            batches.append(batch)
            batch, sequences = [], 0
        batch.append(row)
        sequences += len(row[1])
    return batches + ([batch] if batch else [])


class Stream:
    """Mixed batches without end. `position` names the next pool, so that a stopped run goes on where it was."""

    POOL = 6000

    def __init__(self, tasks, token_budget, seed):
        self.tasks, self.token_budget, self.seed = tasks, token_budget, seed
        self.weights = [len(task.train) ** 0.5 * FACTORS.get(task.name, 1.0) for task in tasks]
        self.position, self.drawn, self.orders = 0, [0] * len(tasks), {}

    def state(self):
        return {"position": self.position, "drawn": list(self.drawn)}

    def restore(self, state):
        self.position, self.drawn = state["position"], list(state["drawn"])

    def draw(self, index):
        rows = self.tasks[index].train
        epoch, place = divmod(self.drawn[index], len(rows))
        if self.orders.get(index, (None,))[0] != epoch:
            order = list(range(len(rows)))
            random.Random(f"{self.seed}/{index}/{epoch}").shuffle(order)
            self.orders[index] = (epoch, order)
        self.drawn[index] += 1
        return (index, *rows[self.orders[index][1][place]])

    def __iter__(self):
        while True:
            chance = random.Random(f"{self.seed}/{self.position}")
            chosen = chance.choices(range(len(self.tasks)), self.weights, k=self.POOL)
            rows = [self.draw(index) for index in chosen]
            spans = [row for row in rows if self.tasks[row[0]].kind == "token_classification"]
            whole = [row for row in rows if self.tasks[row[0]].kind != "token_classification"]
            batches = cut_batches(whole, self.token_budget) + cut_batches(spans, self.token_budget)
            chance.shuffle(batches)
            self.position += 1
            yield from batches
