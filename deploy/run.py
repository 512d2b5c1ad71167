#!/usr/bin/env python3
"""Serves the starter bundle on localhost: waits until it is ready, shows a short tour, and stops cleanly on Ctrl-C.

`HEADWATER_ADDR` is the address (http://127.0.0.1:50051), `HEADWATER_DATA` the data folder (`.data`); further
arguments go to `headwater-server serve`.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import tour

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "target/release"
BUNDLE = ROOT / "registry/starter"
ADDRESS = "http://127.0.0.1:50051"
READY_S = 120


def main():
    address = os.environ.setdefault("HEADWATER_ADDR", ADDRESS)
    data = Path(os.environ.get("HEADWATER_DATA", ROOT / ".data"))
    listen = free_address(address)
    data.mkdir(parents=True, exist_ok=True)
    server = Server(["serve", "--bundle", str(BUNDLE), "--data", str(data), "--listen", listen, *sys.argv[1:]])
    with server:
        if wait_until_serving(server) and server.is_running():
            tour.show(PROGRAMS / "headwater", server.is_running)
        if server.is_running():
            print(f"\nServing on {listen}; ask in another terminal, for instance:", flush=True)
            client = os.path.relpath(PROGRAMS / "headwater") + ("" if address == ADDRESS else f" --addr {address}")
            print(f"  {client} classify ag_news 'Oil prices fell again on Monday.'")
            print("Ctrl-C stops it.", flush=True)
        code = server.wait()
    if code != 0:
        sys.exit(f"headwater-server ended with exit status {code}")
    print("\nStopped.")


def free_address(url):
    """Host and port of `url` as numbers, once nothing else listens there."""
    parts = urlsplit(url)
    try:
        family, _, _, _, place = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)[0]
    except (OSError, ValueError) as error:
        sys.exit(f"HEADWATER_ADDR must look like {ADDRESS}, not {url} ({error})")
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            sys.exit(f"cannot listen on {parts.netloc}: {error.strerror}; `make run PORT=50052` takes another port")
    return f"[{place[0]}]:{place[1]}" if family == socket.AF_INET6 else f"{place[0]}:{place[1]}"


def wait_until_serving(server):
    """Asks the server's health with the real client until it says SERVING; False where the server ended first."""
    deadline = time.monotonic() + READY_S
    while server.is_running():
        health = subprocess.run([PROGRAMS / "headwater", "health"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if health.returncode == 0:
            return True
        if time.monotonic() > deadline:
            server.stop()
            sys.exit(f"the server was not ready within {READY_S} s: {health.stdout.decode().strip()}")
        time.sleep(0.1)
    return False


class Server:
    """The server process. It has a process group of its own and, on a terminal, the foreground: Ctrl-C is the
    server's alone, which drains and exits 0, and make, which would report an interrupt as an error, never sees it."""

    def __init__(self, arguments):
        self.maker, self.asked_to_stop, self.process = os.getppid(), False, None
        self.maker_listened = listens(self.maker)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stop())
        libc = ctypes.CDLL(None)

        def in_own_group():
            os.setpgid(0, 0)
            libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: the server stops even if this script is killed
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # no shell watches this group: Ctrl-Z would freeze all

        self.process = subprocess.Popen([PROGRAMS / "headwater-server", *arguments], preexec_fn=in_own_group)
        self.terminal = foreground_terminal()

    def __enter__(self):
        self.give_terminal(self.process.pid)

    def __exit__(self, *_):
        self.give_terminal(os.getpgrp())

    def is_running(self):
        return self.process.poll() is None

    def stop(self):
        if self.process and not self.asked_to_stop:
            self.asked_to_stop = True
            self.process.send_signal(signal.SIGTERM)

    def wait(self):
        while True:
            try:
                return self.process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                # Interrupted alone, make waits for us without a word: it shows only in that it no longer catches the
                # signal. Started in the background it never did.
                if os.getppid() != self.maker or (self.maker_listened and not listens(self.maker)):
                    self.stop()

    def give_terminal(self, group):
        if self.terminal is not None:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
            os.tcsetpgrp(self.terminal, group)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def foreground_terminal():
    """The terminal whose foreground this script is in, if any."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        return terminal if os.tcgetpgrp(terminal) == os.getpgrp() else None
    except OSError:
        return None


def listens(maker):
    """Whether the process is a make that catches interrupts."""
    try:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{maker}/status").read_text().splitlines())
        return status["Name"] == "make" and bool(int(status["SigCgt"], 16) >> (signal.SIGINT - 1) & 1)
    except (OSError, KeyError, ValueError):
        return False


if __name__ == "__main__":
    main()
