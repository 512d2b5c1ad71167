"""An engine as a process that answers one JSON line for each it is asked, as `headwater-server bench --drive` does."""

import json
import os
import subprocess


class EngineError(Exception):
    """An engine could not be started, or refused, or ended."""


class Engine:
    """One process; what it says of itself goes to a file in `logs`."""

    def __init__(self, name, command, logs, environment):
        self.name = name
        logs.mkdir(parents=True, exist_ok=True)
        self.log = logs / f"{name.replace(' ', '-')}.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environment},
            )
        try:
            self.info = self.ask({"op": "info"})
        except EngineError:
            self.close()
            raise

    def ask(self, question):
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise EngineError(f"{self.name} ended: {self.last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise EngineError(f"{self.name}: {answer['error']}")
        return answer

    def forward(self, rows, repeat=1):
        """Milliseconds of each of `repeat` forwards over `rows`, lists of ids, as one batch."""
        return self.ask({"op": "forward", "rows": rows, "repeat": repeat})["ms"]

    def pooled(self, rows):
        """The vector that sequence heads read, of each row."""
        return self.ask({"op": "pooled", "rows": rows})["pooled"]

    def last_words(self):
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")]
        return (errors or lines or ["it said nothing"])[-1]

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
