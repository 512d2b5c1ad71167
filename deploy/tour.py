"""The tour of `make run`: one question of each kind, asked with the real client, shown as one table."""

import json
import shutil
import subprocess

QUESTIONS = [
    ("ag_news", {"text": "Oil prices climbed above $50 a barrel after producers agreed to cut output."}),
    ("sms_spam", {"text": "WINNER!! Claim your free prize now, call 09061701461. Valid 12 hours only."}),
    ("banking77", {"text": "I ordered my card two weeks ago and it still has not arrived."}),
    ("sick/label", {"text": "A man is playing a guitar", "text_pair": "There is no man playing a guitar"}),
    ("sick/relatedness", {"text": "Two dogs are running", "text_pair": "A pair of dogs is running fast"}),
    ("go_emotions/simplified", {"text": "Thank you so much, that is really kind of you!"}),
    (
        "codah/codah",
        {
            "text": "The boy was thirsty, so he",
            "choices": ["drank a glass of water", "ate the moon", "painted his shoes", "sold a mountain"],
        },
    ),
    ("conll2003/ner_tags", {"tokens": "Angela Merkel met officials of Siemens in Berlin on Friday .".split()}),
]
HEADINGS = ["task", "kind", "input", "answer", "score"]


def show(client, is_running):
    """Prints the table, or stops in silence where the server has been told to end."""
    kinds = {task["task"]: task["kind"] for task in ask(client, ["tasks"])}
    rows = []
    for task, question in QUESTIONS:
        if task in kinds:
            reply = ask(client, ["classify", task, "--input", "-"], json.dumps(question))
            if not is_running():
                return
            answer, score = read(reply[0], question) if reply else ("no answer", "")
            rows.append([task, kinds[task], shown(question), answer, score])
    print(f"\n{len(kinds)} tasks are served. A few of them:\n")
    print(table(rows), flush=True)


def ask(client, arguments, line=None):
    """What the client writes, one value a line."""
    command = [client, *arguments, "--output", "json"]
    done = subprocess.run(command, input=line, capture_output=True, text=True)
    if done.stderr:
        print(done.stderr.strip())
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


def read(reply, question):
    """An answer and its score, in a few words."""
    if "error" in reply:
        return reply["error"]["message"], ""
    if "value" in reply:
        return "value", f"{reply['value']:.2f}"
    if "choices" in reply:
        best = max(reply["choices"], key=lambda choice: choice["score"])
        return question["choices"][best["index"]], f"{best['score']:.2f}"
    if "spans" in reply:
        found = [f"{span['text']} ({span['label']})" for span in reply["spans"]]
        return ", ".join(found) or "none", ", ".join(f"{span['score']:.2f}" for span in reply["spans"])
    labels = [label for label in reply["labels"] if label.get("above_threshold", True)]
    labels.sort(key=lambda label: -label["score"])
    shown = labels if "above_threshold" in reply["labels"][0] else labels[:1]
    return ", ".join(label["label"] for label in shown) or "none", ", ".join(f"{label['score']:.2f}" for label in shown)


def shown(question):
    """The question as one line."""
    if "tokens" in question:
        return " ".join(question["tokens"])
    return " | ".join(question[field] for field in ("text", "text_pair") if field in question)


def table(rows):
    """Columns as wide as their contents, the input cut to what the terminal leaves it."""
    widths = [max(len(cell) for cell in column) for column in zip(HEADINGS, *rows)]
    others = sum(widths) - widths[2] + 2 * (len(widths) - 1)
    widths[2] = min(widths[2], max(24, shutil.get_terminal_size((160, 24)).columns - others))
    lines = [HEADINGS, ["-" * width for width in widths], *rows]
    return "\n".join("  ".join(map(fitted, line, widths)).rstrip() for line in lines)


def fitted(cell, width):
    """The cell in exactly this width."""
    return cell.ljust(width) if len(cell) <= width else cell[: width - 1] + "…"
