"""The release server on a free port of this machine, and calls to it by `headwater load`."""

import json
import signal
import socket
import subprocess
from pathlib import Path

import places
from engines import EngineError, ends_with_us, last_line

READY_WITHIN_S = 120


class Server:
    """`headwater-server serve` over the benchmark's data folder; it stands still outside `load`."""

    def __init__(self, precision, threads):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.listen = f"127.0.0.1:{probe.getsockname()[1]}"
        self.log = places.log("server")
        command = [places.program("headwater-server"), "serve", "--data", places.DATA, "--listen", self.listen]
        # Repeated rows must reach the encoder, or the cache is measured in its place.
        command += ["--cache-bytes", "0", "--dtype", precision, "--threads", threads]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=subprocess.DEVNULL, stderr=log, preexec_fn=ends_with_us
            )

    def __enter__(self):
        ready = self.headwater("health", "--wait", READY_WITHIN_S)
        if ready.returncode != 0:
            self.close()
            raise EngineError(f"the server was not ready: {last_line(self.log)}")
        self.process.send_signal(signal.SIGSTOP)
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def load(self, file, concurrency, tasks=(), seconds=None):
        """What `headwater load` says after asking the rows of `file`, so many at once."""
        words = ["load", "--input", file, "--concurrency", concurrency]
        words += [word for task in tasks for word in ("--task", task)]
        words += ["--seconds", seconds] if seconds else []
        self.process.send_signal(signal.SIGCONT)
        done = self.headwater(*words)
        self.process.send_signal(signal.SIGSTOP)
        if done.returncode != 0:
            raise EngineError(f"headwater load ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return json.loads(done.stdout.splitlines()[0])

    def tasks(self, *words):
        """Names of the tasks that are served."""
        self.process.send_signal(signal.SIGCONT)
        done = self.headwater("tasks", *words)
        self.process.send_signal(signal.SIGSTOP)
        return [json.loads(line)["task"] for line in done.stdout.splitlines()]

    def resident_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def headwater(self, *words):
        command = [places.program("headwater"), "--addr", f"http://{self.listen}", "--output", "json", *words]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def rows_file(name, sentences):
    """A file of JSON lines with these sentences."""
    path = places.WORK / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"text": sentence.text}) + "\n" for sentence in sentences), encoding="utf-8")
    return path
