#!/usr/bin/env python3
"""Runs every test of the workspace in one build, then the models of its threads, and closes with how many passed."""

import re
import subprocess
import sys

RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
FAILED = re.compile(r"^test (.*) \.\.\. FAILED")
TESTS = ["cargo", "test", "--workspace", "--no-fail-fast"]
# Built apart: with this feature the locks of both crates are a checker's, good for nothing but its models.
MODELS = ["cargo", "test", "-p", "engine", "-p", "kernels", "--features", "engine/models,kernels/models", "--lib",
          "--no-fail-fast", "models::"]


class Counts:
    """What all runs so far have shown."""

    def __init__(self):
        self.passed = self.failed = self.ignored = 0
        self.names = []
        self.broken = []

    def run(self, command):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as cargo:
            for line in cargo.stdout:
                print(line, end="", flush=True)
                if result := RESULT.match(line):
                    passed, failed, ignored = (int(count) for count in result.groups())
                    self.passed += passed
                    self.failed += failed
                    self.ignored += ignored
                if name := FAILED.match(line):
                    self.names.append(name.group(1))
        if cargo.returncode != 0:
            self.broken.append(f"{' '.join(command[:2])} exited with {cargo.returncode}")


def main():
    counts = Counts()
    counts.run(TESTS + sys.argv[1:])
    if not sys.argv[1:]:
        counts.run(MODELS)
    if counts.broken:
        for name in counts.names:
            print(f"failed: {name}")
        sys.exit(f"{counts.passed} tests passed, {counts.failed} failed; {', '.join(counts.broken)}")
    print(f"all {counts.passed} tests passed" + (f", {counts.ignored} ignored" if counts.ignored else ""))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
