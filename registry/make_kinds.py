#!/usr/bin/env python3
"""Makes kinds.tsv: every task id of the tasksource family with its kind, and a fixed prompt where it has one.

    python3 -m venv .venv
    .venv/bin/pip install -r registry/requirements.txt
    .venv/bin/python registry/make_kinds.py > registry/kinds.tsv

The ids come from several releases of the Python package `tasksource`, because published checkpoints were trained with
different ones. Where releases disagree, the earlier in RELEASES wins. Older releases look up data sets on the hub when
they are imported; here they are answered from the newest release, which carries the same lists as text.
"""

import json
import os
import subprocess
import sys
import tempfile

NEWEST = "0.1.1"
# The first is the last release of the time in which the large checkpoints were published.
RELEASES = ["0.0.47", "0.0.43", "0.0.36", "0.0.22", NEWEST]

KINDS = {
    "Classification": "classification",
    "MultipleChoice": "multiple_choice",
    "TokenClassification": "token_classification",
}

# Before 0.0.43 the preference task had an empty prompt in the package; the published heads are asked with this one.
PROMPTS = {"hh-rlhf": "Most helpful assistant answer:"}


def install(release, folder):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
    subprocess.run([*command, f"tasksource=={release}"], check=True)


def answer_from(newest):
    """Stands in for the hub while an older release is imported."""
    import datasets
    import pandas

    configs = {}
    for row in newest["rows"]:
        configs.setdefault(row["dataset"].split("/")[-1], set()).add(row["config"] or "default")

    def config_names(path, *_, **__):
        return sorted(configs.get(path.split("/")[-1], []))

    datasets.get_dataset_config_names = config_names
    hard = sorted(newest["blimp_hard"])
    pandas.read_csv = lambda *_, **__: pandas.DataFrame({"Condition": hard, "total_mean": [1.0] * len(hard)})
    pandas.read_json = lambda *_, **__: pandas.DataFrame({"UID": hard, "gpt2": [0.0] * len(hard)})


def constant_text(field):
    """The text of a field that is the same for every example, or None."""
    return field.value if is_constant(field) and isinstance(field.value, str) else None


def is_constant(field):
    # The package's own wrapper shows itself as "constantly(value)"; its other wrappers answer to any attribute.
    return type(field).__name__ == "pretty_f" and repr(field).startswith("constantly(")


def list_release(newest_path):
    """Prints the tasks of the release on PYTHONPATH, as JSON."""
    if newest_path != "-":
        with open(newest_path, encoding="utf-8") as file:
            answer_from(json.load(file))
    from tasksource import metadata
    from tasksource.access import list_tasks

    rows = []
    for row in list_tasks().itertuples():
        # Older releases spell a part that is not there as a missing number.
        task = "/".join(part for part in row.id.split("/") if part != "nan")
        kind, prompt = KINDS[row.task_type], None
        if kind == "multiple_choice":
            prompt = constant_text(row.mapping.inputs) or PROMPTS.get(task)
            # A fixed prompt, and the better answer always first: the head scores answers.
            if prompt and is_constant(row.mapping.labels):
                kind = "reward"
        config = row.config_name if isinstance(row.config_name, str) else None
        rows.append({"id": task, "kind": kind, "prompt": prompt, "dataset": row.dataset_name, "config": config})
    json.dump({"rows": rows, "blimp_hard": sorted(metadata.blimp_hard)}, sys.stdout)


def run(release, folder, newest_path):
    target = os.path.join(folder, release)
    install(release, target)
    environment = {**os.environ, "PYTHONPATH": target, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", os.path.abspath(__file__), "--list", newest_path]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def main():
    with tempfile.TemporaryDirectory() as folder:
        newest_path = os.path.join(folder, "newest.json")
        listed = {NEWEST: run(NEWEST, folder, "-")}
        with open(newest_path, "w", encoding="utf-8") as file:
            file.write(listed[NEWEST])
        for release in RELEASES:
            if release not in listed:
                listed[release] = run(release, folder, newest_path)
    tasks = {}
    for release in RELEASES:
        for row in json.loads(listed[release])["rows"]:
            tasks.setdefault(row["id"], (row["kind"], row["prompt"]))
    print("# Task, kind, fixed prompt where there is one. Made by make_kinds.py from the tasksource package (BSD-3-Clause),")
    print(f"# releases {', '.join(RELEASES)}.")
    for task, (kind, prompt) in sorted(tasks.items()):
        print("\t".join([task, kind, prompt] if prompt else [task, kind]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--list"]:
        list_release(sys.argv[2])
    else:
        main()
