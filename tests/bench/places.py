"""Where everything of `make bench` is: programs, checkpoint, exports, results."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

WORK = ROOT / ".bench"
CHECKPOINT = WORK / "checkpoint"
DATA = WORK / "data"
BUNDLE = DATA / "bundle"
EXPORT = WORK / "export"
LOGS = WORK / "logs"
RESULTS = WORK / "results.json"
PLOT = WORK / "results.svg"
TABLE = WORK / "results.md"

STARTER_TOKENIZER = ROOT / "registry/starter/encoder/tokenizer.json"


def program(name):
    """The release build of a program."""
    return TARGET / "release" / name


def onnx(precision):
    """The exported model of a precision."""
    return EXPORT / ("int8.onnx" if precision == "int8" else "model.onnx")


def log(name):
    """The file for what a process says of itself."""
    LOGS.mkdir(parents=True, exist_ok=True)
    return LOGS / f"{name.replace(' ', '-')}.log"
