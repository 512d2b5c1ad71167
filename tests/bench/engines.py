"""Engines as processes that answer one JSON line for each they are asked, and stand still while another is timed."""

import ctypes
import json
import os
import signal
import subprocess
import sys

import places


class EngineError(Exception):
    """An engine could not be started, or refused or ended."""


class Engine:
    """One process. It is stopped whenever it is not asked, so that no idle thread of its own takes a core."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.log = places.log(name)
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **(environment or {})},
                preexec_fn=ends_with_us,
            )
        try:
            self.info = self.ask({"op": "info"})
        except EngineError:
            self.close()
            raise

    def ask(self, question):
        """The answer to `question`; only this engine runs meanwhile."""
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise EngineError(f"{self.name} ended: {last_line(self.log)}")
        self.process.send_signal(signal.SIGSTOP)
        answer = json.loads(line)
        if "error" in answer:
            raise EngineError(f"{self.name}: {answer['error']}")
        return answer

    def forward(self, rows, repeat=1):
        """Milliseconds of each of `repeat` forwards over `rows`, lists of ids, as one batch."""
        return self.ask({"op": "forward", "rows": rows, "repeat": repeat})["ms"]

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Pool:
    """The engines that are running, each started when it is first wanted."""

    def __init__(self, threads):
        self.threads = threads
        self.running = {}
        # Logits of eager fp32 for the rows of `agreement`, once it has run.
        self.reference = None

    def get(self, kind, precision):
        """`own`, `eager`, `onnxruntime` or `openvino` in `fp32`, `bf16` or `int8`."""
        name = f"{kind} {precision}"
        if name not in self.running:
            print(f"  starting {name}", flush=True)
            self.running[name] = Engine(name, self.command(kind, precision), self.environment())
        return self.running[name]

    def command(self, kind, precision):
        if kind == "own":
            bench = [places.program("headwater-server"), "bench", "--drive", "--bundle", places.BUNDLE]
            return [*bench, "--dtype", precision, "--threads", self.threads]
        model = {"eager": places.CHECKPOINT, "onnxruntime": places.onnx(precision), "openvino": places.onnx("fp32")}
        return [sys.executable, places.HERE / "peer.py", kind, precision, model[kind], self.threads]

    def environment(self):
        # The peers' own default would be every core; nothing else of theirs is touched.
        return {"OMP_NUM_THREADS": str(self.threads), "TOKENIZERS_PARALLELISM": "false"}

    def release(self, *names):
        """Ends the engines called so."""
        for name in names:
            engine = self.running.pop(name, None)
            if engine:
                engine.close()

    def close(self):
        self.release(*list(self.running))


def ends_with_us():
    """In a child, before it becomes another program: it is killed when this process is, even while it is stopped."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def last_line(log):
    """What a process said that tells most about its end: its last error, else its last line."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["it said nothing"])[-1]
