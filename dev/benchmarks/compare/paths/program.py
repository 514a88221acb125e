"""A process of a path, with its output in a file."""

import os
import pathlib
import signal
import subprocess
import time

from ..measure import tree

STOP_SECONDS = 60
TAIL_LINES = 15


class Program:
    """A running program and all its children."""

    def __init__(self, name, command, folder, environment=None):
        self.name, self.log = name, pathlib.Path(folder) / f"{name}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd=folder, env={**os.environ, **(environment or {})},
            )

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def check(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with code {self.process.returncode}:\n{self.tail()}")

    def stop(self):
        """Asks it to end and waits for it and its children; after a minute it kills them."""
        pids = tree([self.process.pid]) if self.process.poll() is None else []
        if pids:
            self.process.terminate()
        end = time.monotonic() + STOP_SECONDS
        while any(self.runs(pid) for pid in pids) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in filter(self.runs, pids):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def runs(self, pid):
        """True for a process that has not ended; an ended child that waits for its parent counts as ended."""
        self.process.poll()
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False


class Programs:
    """What the paths have in common: some programs that run or do not run."""

    def __init__(self):
        self.running = []

    def roots(self):
        return [program.process.pid for program in self.running]

    def check(self):
        for program in self.running:
            program.check()

    def stop(self):
        for program in self.running:
            program.stop()
        self.running = []
