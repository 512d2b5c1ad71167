"""Makes what is measured, once: a random checkpoint of v3-base's geometry with 444 tasks, its bundle, its exports."""

import json
import re
import shutil
import subprocess
import sys

import places

PRESET, TASKS = "base", 444
# Whoever changes what is made changes this.
STAMP = {"preset": PRESET, "tasks": TASKS, "form": 1}
MADE = places.WORK / "made.json"


def prepare(with_exports):
    places.WORK.mkdir(exist_ok=True)
    if not MADE.exists() or json.loads(MADE.read_text()) != STAMP:
        make()
    if with_exports and not (places.EXPORT / "agreement.json").exists():
        print("exporting it for the peers (minutes, once)", flush=True)
        words = [sys.executable, "-W", "ignore", places.HERE / "export.py", places.CHECKPOINT, places.EXPORT]
        run(*words)


def make():
    MADE.unlink(missing_ok=True)
    for folder in (places.CHECKPOINT, places.DATA, places.EXPORT):
        shutil.rmtree(folder, ignore_errors=True)
    print(f"making a checkpoint of {PRESET} geometry with {TASKS} tasks (once)", flush=True)
    server = places.program("headwater-server")
    run(server, "synth", "--preset", PRESET, "--tasks", TASKS, "--out", places.CHECKPOINT)
    plain_tasks(places.CHECKPOINT / "kinds.tsv")
    real_words()
    kinds = places.CHECKPOINT / "kinds.tsv"
    run(server, "import", places.CHECKPOINT, "--kinds", kinds, "--data", places.DATA, stdout=subprocess.DEVNULL)
    MADE.write_text(json.dumps(STAMP) + "\n")


def plain_tasks(table):
    """Tasks that would rank several texts become numbers, so that every task takes the same traffic: one text."""
    table.write_text(re.sub(r"\t(multiple_choice|reward)\b.*", "\tregression", table.read_text()))


def real_words():
    """The starter's tokenizer in place of random syllables: real sentences then have realistic lengths."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(places.STARTER_TOKENIZER.with_name(name), places.CHECKPOINT / name)


def run(*words, **more):
    words = list(map(str, words))
    if subprocess.run(words, **more).returncode != 0:
        sys.exit(f"bench: {' '.join(words)} failed")
