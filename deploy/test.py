#!/usr/bin/env python3
"""Runs every test of the workspace in one build and closes with how many passed."""

import re
import subprocess
import sys

RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
FAILED = re.compile(r"^test (.*) \.\.\. FAILED")


def main():
    command = ["cargo", "test", "--workspace", "--no-fail-fast", *sys.argv[1:]]
    passed = failed = ignored = 0
    names = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as cargo:
        for line in cargo.stdout:
            print(line, end="", flush=True)
            if result := RESULT.match(line):
                passed, failed, ignored = (a + int(b) for a, b in zip((passed, failed, ignored), result.groups()))
            if name := FAILED.match(line):
                names.append(name.group(1))
    if cargo.returncode != 0:
        for name in names:
            print(f"failed: {name}")
        sys.exit(f"{passed} tests passed, {failed} failed; cargo test exited with {cargo.returncode}")
    print(f"all {passed} tests passed" + (f", {ignored} ignored" if ignored else ""))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
