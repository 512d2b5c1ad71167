"""What the measuring machine is, and whether it is busy with something else."""

import importlib.metadata
import os
import platform
import time
from pathlib import Path

FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
PEERS = ("transformers", "torch", "onnxruntime", "openvino")
# Share of the processors' time, watched before anything runs.
BUSY = 0.10
WATCH_S = 2


def description():
    """What a reader of the figures needs to know, by name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    about = dict(line.split(":", 1) for line in lines if ":" in line)
    about = {name.strip(): value.strip() for name, value in about.items()}
    has = about.get("flags", "").split()
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "processor": about.get("model name", platform.processor()),
        "family and model": f"{about.get('cpu family', '?')} {about.get('model', '?')}",
        "cores": len(os.sched_getaffinity(0)),
        "has": [flag for flag in FLAGS if flag in has],
        "has not": [flag for flag in FLAGS if flag not in has],
        "memory": f"{int(memory.split()[1]) / 2**20:.1f} GiB",
        "kernel": platform.release(),
        "peers": {peer: importlib.metadata.version(peer) for peer in PEERS},
        "load average": [round(load, 2) for load in os.getloadavg()],
        "busy": round(busy(), 3),
    }


def processor_times():
    """All ticks so far, the idle ones, and those that another guest of the host had."""
    ticks = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return sum(ticks), ticks[3] + ticks[4], ticks[7]


def busy():
    """Share of the processors' time that something uses while nothing of the benchmark runs."""
    before = processor_times()
    time.sleep(WATCH_S)
    after = processor_times()
    every, idle = after[0] - before[0], after[1] - before[1]
    return 1 - idle / every if every else 0.0


def stolen(before, after):
    """Share of the processors' time that the host gave to others."""
    every = after[0] - before[0]
    return (after[2] - before[2]) / every if every else 0.0


def show(about):
    for name, value in about.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {version}" for key, version in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value)) or "none of those asked about"
        elif name == "busy":
            value = f"{100 * value:.0f} % before the first measurement"
        print(f"{name + ':':18}{value}")
    if about["busy"] > BUSY:
        share = f"{100 * about['busy']:.0f} %"
        print(f"warning: something else uses {share} of the processors; these figures will be noisy")
