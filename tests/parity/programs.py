"""The built programs, run as a person would run them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
READY_WITHIN_S = 300


def program(name):
    """The release build of a program."""
    return TARGET / "release" / name


def build():
    """Builds what is run here."""
    for what in (["-p", "server", "-p", "cli", "--bins"], ["-p", "deberta", "--example", "tokenize"]):
        subprocess.run(["cargo", "build", "--release", *what], check=True, cwd=ROOT)


def server(*arguments):
    """`headwater-server` with `arguments`, to its end."""
    subprocess.run([program("headwater-server"), *map(str, arguments)], check=True)


@contextlib.contextmanager
def serving(data):
    """`headwater-server serve` on a free port until the block ends; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [program("headwater-server"), "serve", "--data", data, "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    try:
        wait_until_ready(process, address)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def wait_until_ready(process, address):
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"headwater-server ended with {process.returncode} before it was ready")
        health = [program("headwater"), "--addr", address, "health"]
        if subprocess.run(list(map(str, health)), capture_output=True).returncode == 0:
            return
        time.sleep(0.2)
    sys.exit(f"headwater-server was not ready within {READY_WITHIN_S} s")


def client(address, *arguments):
    """`headwater` with `arguments`, to its end."""
    command = [program("headwater"), "--addr", address, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"headwater {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stderr or done.stdout}")


def classify(address, task, cases, task_embedding):
    """One answer per case through `headwater classify --input - --logits`."""
    command = [program("headwater"), "--addr", address, "classify", task, "--input", "-", "--logits"]
    command += ["--task-embedding", task_embedding, "--output", "json"]
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run(list(map(str, command)), input=lines, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"headwater classify {task} ended with {done.returncode}: {done.stderr or done.stdout}")
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def logits(answer):
    """The logits of one answer in the order of labels, choices, or tokens."""
    if "value" in answer:
        return [answer["value"]]
    for key in ("labels", "choices"):
        if key in answer:
            return [entry["logit"] for entry in sorted(answer[key], key=lambda entry: entry["index"])]
    return [logit for token in answer["token_logits"] for logit in token["logits"]]
