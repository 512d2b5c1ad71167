#!/usr/bin/env python3
"""Puts libtorch 2.11.0 at `.libtorch` in the repository root, where every build and every binary looks for it.

Without a choice it is assembled for the CPU from three wheels (once; 540 MB to download, 500 MB on disk).
`HEADWATER_LIBTORCH=/path/to/site-packages/torch` chooses an installed PyTorch 2.11 instead, for instance one with
CUDA; `HEADWATER_LIBTORCH=cpu` goes back. Without the variable the last choice stays.
`.libtorch` is a link to the chosen folder, so that a change of mind moves no file.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import wheels
from wheels import DownloadError, Wheel

VERSION = "2.11.0"
TORCH = Wheel("torch", VERSION, 530604548, "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a")
# libtorch_cpu.so is the one of the CUDA build: it asks the loader for these two, and never calls them on a CPU.
CUDART = Wheel(
    "nvidia-cuda-runtime", "13.0.96", 2243632, "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"
)
CUPTI = Wheel(
    "nvidia-cuda-cupti", "13.0.85", 10715597, "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"
)
MEMBERS = {
    TORCH: ("torch/", r"include/.*|version\.py|lib/(libtorch_cpu\.so|libc10\.so|libgomp[^/]*)"),
    CUDART: ("nvidia/cu13/", r"lib/libcudart\.so\.13"),
    CUPTI: ("nvidia/cu13/", r"lib/libcupti\.so\.13"),
}
# The wheel's own libtorch.so asks for libtorch_cuda.so; to the linker this text is as good as a library.
LINKER_SCRIPT = "INPUT(-ltorch_cpu -lc10)\n"
STAMP = json.dumps({str(wheel): wheel.sha256 for wheel in MEMBERS} | {"layout": 1}, indent=1) + "\n"
DISK_BYTES = 1_200_000_000

ROOT = Path(__file__).resolve().parent.parent
LINK = ROOT / ".libtorch"
CPU = ROOT / ".libtorch.cpu"
WORK = ROOT / ".libtorch.partial"
# Build scripts watch this file: it is written whenever `.libtorch` comes to mean another folder.
CHOICE = ROOT / ".libtorch.choice"


def main():
    try:
        with open(ROOT / ".libtorch.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            choose(chosen_folder(os.environ.get("HEADWATER_LIBTORCH", "")))
    except (DownloadError, OSError) as error:
        sys.exit(f"libtorch: {error}")
    except KeyboardInterrupt:
        sys.exit("\nlibtorch: stopped; the next run continues from here")


def chosen_folder(wish):
    """The folder that the caller wants: an installed PyTorch, or ours, assembled if need be."""
    if wish and wish != "cpu":
        folder = Path(wish).expanduser().resolve()
        check_pytorch(folder)
        return folder
    if not wish and LINK.is_symlink() and LINK.resolve() != CPU:
        try:
            check_pytorch(LINK.resolve())
        except DownloadError as error:
            print(f"libtorch: {error}; using the CPU one", file=sys.stderr)
        else:
            print(f"libtorch: the PyTorch in {LINK.resolve()}, as chosen before (HEADWATER_LIBTORCH=cpu goes back)")
            return LINK.resolve()
    if not is_assembled():
        assemble()
    return CPU


def check_pytorch(folder):
    """Raises where `folder` is not an installed PyTorch of the version that the bindings were made for."""
    version_file = folder / "version.py"
    needed = (version_file, folder / "lib/libtorch_cpu.so", folder / "include/ATen/ATen.h")
    absent = [path for path in needed if not path.exists()]
    if absent:
        raise DownloadError(f"{folder} is not a PyTorch folder (such as …/site-packages/torch): it has no {absent[0]}")
    found = re.search(r"__version__ = '([^']*)'", version_file.read_text())
    version = found.group(1) if found else "unknown"
    if version.split("+")[0] != VERSION:
        raise DownloadError(f"{folder} is PyTorch {version}, but {VERSION} is needed")


def is_assembled():
    stamp = CPU / "stamp.json"
    return stamp.exists() and stamp.read_text() == STAMP


def assemble():
    """Downloads and unpacks into a folder beside, which takes its name only when it is whole."""
    WORK.mkdir(exist_ok=True)
    if shutil.disk_usage(WORK).free < DISK_BYTES:
        raise DownloadError(f"{ROOT} has less than {DISK_BYTES / 1e9:.1f} GB of free space")
    paths = wheels.fetch(MEMBERS, WORK)
    folder = WORK / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    print("libtorch: unpacking", file=sys.stderr)
    for wheel, (prefix, pattern) in MEMBERS.items():
        unpack(paths[wheel], prefix, re.compile(pattern), folder)
    (folder / "lib/libtorch.so").write_text(LINKER_SCRIPT)
    (folder / "build-version").write_text(VERSION + "\n")
    (folder / "stamp.json").write_text(STAMP)
    shutil.rmtree(CPU, ignore_errors=True)
    folder.rename(CPU)
    shutil.rmtree(WORK)


def unpack(path, prefix, wanted, folder):
    """Writes the members under `prefix` whose remaining path is `wanted`."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename[len(prefix) :]
            if member.is_dir() or not member.filename.startswith(prefix) or not wanted.fullmatch(name):
                continue
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out, wheels.CHUNK)


def choose(folder):
    """Makes `.libtorch` a link to `folder`, in one step."""
    if LINK.is_symlink() and LINK.resolve() == folder and CHOICE.exists():
        return
    if LINK.is_dir() and not LINK.is_symlink():
        raise DownloadError(f"{LINK} is a folder that this script did not make: move it away")
    changed = LINK.is_symlink() and LINK.resolve() != folder
    beside = ROOT / ".libtorch.new"
    beside.unlink(missing_ok=True)
    beside.symlink_to(folder.name if folder == CPU else folder)
    beside.replace(LINK)
    CHOICE.write_text(f"{folder}\n")
    if changed:
        forget_bindings()
    print(f"libtorch: {LINK} is {folder}")


def forget_bindings():
    """Has cargo build the bindings anew: they remember which libraries they found, and see no change of the link."""
    for profile in ([], ["--release"]):
        subprocess.run(["cargo", "clean", "--quiet", "-p", "torch-sys", *profile], cwd=ROOT, check=False)


if __name__ == "__main__":
    main()
