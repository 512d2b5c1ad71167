#!/usr/bin/env python3
"""Tries all that may happen to heads, at full numbers, within twenty minutes besides the build, and prints a table.

With words as arguments, only the rows that hold all of them. `--repeat` says how often a row that passes is tried.
"""

import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import time

LIMIT_SECONDS = 20 * 60
# Where a sync costs nothing: what is tried is the order of calls, not the disk.
MEMORY = "/dev/shm"
# One row each: what is tried, the test binary, and the names of its tests by a part that they share.
ROWS = (
    ("killed at every call that changes a file", "durability", ("killed_at_every_system_call", "killed_at_every_file")),
    ("killed at 200 random moments", "durability", ("killed_at_random_moments",)),
    ("every call fails, EIO and ENOSPC, once and for good", "durability", ("a_failing_call", "whichever_call_fails")),
    ("writes that fail for good are answered", "durability", ("a_store_whose_writes_fail",)),
    ("power cut at 500 places, unsynced bytes gone", "durability", ("a_power_cut_takes_nothing",)),
    ("control: the bare store is found to lose", "durability", ("without_belts",)),
    ("junk in the data directory", "durability", ("opens_complete_after",)),
    ("1,000 flipped bits", "durability", ("a_flipped_bit",)),
    ("every file cut at every 4 KiB", "durability", ("a_file_cut_at_any_block",)),
    ("store lost, journal lost, both lost", "durability", ("a_lost_journal", "a_damaged", "a_torn", "journal_lost")),
    ("a second process, a stale lock", "durability", ("a_second_", "a_killed_holder")),
    ("directory missing, unwritable, full", "durability", ("directory_", "opened_for_reading", "on_a_")),
    ("10,000 replacements over 500 heads", "durability", ("thousands_of_replacements",)),
    ("1,000 exports under changes, imported, exported", "durability", ("exports_under_changes",)),
    ("1,000 heads over 20 tenants, one bad", "durability", ("of_a_thousand_heads",)),
    ("the clock jumps or stands", "durability", ("a_clock_that_jumps",)),
    ("10,000 swaps under 64 clients", "behaviour", ("torture::swapping",)),
    ("32 callers x 1,024 under one name", "behaviour", ("torture::one_name",)),
    ("deleted and rolled back while calls wait", "behaviour", ("torture::parked",)),
    ("replacement with a bad file", "behaviour", ("torture::bad_replacement",)),
    ("a slow disk while a head is installed", "behaviour", ("torture::slow_disk",)),
    ("100 callers install one head at once", "behaviour", ("torture::same_head",)),
    ("uploads left at every message, or broken", "behaviour", ("torture::broken_uploads",)),
    ("a server with one bad head of 1,000 starts", "behaviour", ("torture::one_bad_head",)),
    ("backups while heads change", "behaviour", ("backing_up",)),
    ("20 tokens revoked under open streams", "behaviour", ("torture::revocation",)),
    ("a tenant at ten times its quota", "behaviour", ("dividing_the_encoder", "torture::flood")),
    ("foreign and absent tasks, 16 x 10,000 calls", "behaviour", ("torture::statistics", "torture::foreign_tasks")),
    ("100,000 guesses at a token", "behaviour", ("torture::guesses",)),
    ("100 histories x 5,000 calls, 200 kills", "behaviour", ("torture::history", "torture::killed_server")),
)
# The folder of each binary's crate, and its name, which others have too.
BINARIES = (("crates/registry", "durability"), ("tests", "behaviour"))
# Rows of a binary that are tried at the same time: victims of the first are alone with their files, and those of the
# second are timed.
AT_ONCE = {"durability": 2, "behaviour": 1}
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
IGNORED = re.compile(r"^test (.*?)\s*\.\.\. ignored")


def executables():
    """The two test binaries by name, as a build of the whole workspace makes them; each with the folder it runs in."""
    command = ["cargo", "test", "--workspace", "--no-run", "--message-format=json"]
    command += [word for _, name in BINARIES for word in ("--test", name)]
    built = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        sys.exit(f"cargo test exited with {built.returncode}")
    found = {}
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            folder = os.path.dirname(message["manifest_path"])
            found[os.path.relpath(folder), message["target"]["name"]] = message["executable"], folder
    return {name: found[folder, name] for folder, name in BINARIES}


def run(executable, folder, name, seconds):
    """Passed, failed, ignored (with reasons) and what was found by the tests that have `name` in theirs."""
    environment = dict(os.environ, HEADWATER_TORTURE="1")
    if os.access(MEMORY, os.W_OK):
        environment["TMPDIR"] = MEMORY
    command = [executable, name, "--nocapture", "--test-threads", "1"]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return 0, 1, [], [f"not done after {seconds:.0f} s"], ""
    lines = done.stdout.splitlines()
    results = [[int(count) for count in result.groups()] for line in lines if (result := RESULT.match(line))]
    passed, failed, _ = results[-1] if results else (0, 1, 0)
    ignored = [match.group(1) for line in lines if (match := IGNORED.match(line))]
    facts = [line.split("found: ", 1)[1] for line in lines if "found: " in line]
    if passed + failed + len(ignored) == 0:
        failed, facts = 1, [f"no test is called {name}"]
    if done.returncode != 0 and failed == 0:
        failed, facts = 1, [f"it ended with {done.returncode}"]
    return passed, failed, ignored, facts, done.stdout if failed else ""


def try_row(row, binaries, repeat, ends):
    """What to print of the row, the outputs of what failed, whether the row holds, and how many tests it skipped."""
    what, binary, names = row
    started = time.monotonic()
    tests, facts, bad, ignored, outputs = 0, [], 0, [], []
    for name in names * repeat:
        left = ends - time.monotonic()
        if left <= 0:
            bad, facts = 1, facts + ["not tried: the twenty minutes are over"]
            break
        passed, failed, passed_over, found, output = run(*binaries[binary], name, left)
        tests += passed + failed
        bad += failed
        facts += found
        ignored += passed_over
        outputs += [output] if output else []
    result = "FAILED" if bad else "skipped" if tests == 0 else "ok"
    line = f"{what:<54} {tests:>5}  {result:<8} {time.monotonic() - started:>7.1f}"
    below = facts + [f"skipped: {name}" for name in ignored]
    return "\n    ".join([line, *below]), outputs, bad == 0, len(ignored)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    rows = [row for row in ROWS if all(word in row[0] for word in arguments.words)]
    if not rows:
        sys.exit("no row holds these words")
    binaries = executables()
    started = time.monotonic()
    tried = []
    print(f"{'what is tried':<54} {'tests':>5}  {'result':<8} {'seconds':>7}", flush=True)
    for binary, at_once in AT_ONCE.items():
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            these = [row for row in rows if row[1] == binary]
            for one in pool.map(lambda row: try_row(row, binaries, arguments.repeat, started + LIMIT_SECONDS), these):
                print(one[0], flush=True)
                tried.append(one)
    for _, outputs, _, _ in tried:
        for output in outputs:
            print(output)
    held, skipped = sum(one[2] for one in tried), sum(one[3] for one in tried)
    minutes = (time.monotonic() - started) / 60
    print(f"{held} of {len(rows)} rows hold, {skipped} tests skipped, {minutes:.1f} minutes")
    sys.exit(0 if held == len(rows) else 1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
