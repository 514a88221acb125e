"""Runs a program and measures it: seconds by the monotonic clock, CPU and memory of it and its children by /proc."""

import dataclasses
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import time

from compare.lake import Lake
from compare.measure import cpu_seconds, peak_mb
from compare.servers import BIN, CACHE

COPY_SECONDS_MAX = 300
STEP_SECONDS = 0.01
STEPS_BETWEEN_SAMPLES = 10


@dataclasses.dataclass(frozen=True)
class Copied:
    """What a copy took, and the folder or file that it wrote, if it wrote one."""

    seconds: float
    cpu_s: float
    peak_mb: float
    out: pathlib.Path | None = None
    rows: int | None = None


class Bench:
    """The servers, how many rows each shape has, and a folder for what is written."""

    def __init__(self, servers, folder, rows):
        self.servers, self.folder, self.rows = servers, pathlib.Path(folder), rows
        self.duckdb, self.cache = CACHE / "duckdb/duckdb", CACHE
        self.java = ["java", "-Xmx512m", "-XX:-UsePerfData", "-cp", f"{CACHE}/kafka/libs/*"]
        self.taken, self.lakes = 0, {}

    def fresh(self, name):
        """A new name, for a file, a topic or a pipeline."""
        self.taken += 1
        return f"{name}-{self.taken}"

    def out(self, name):
        return self.folder / f"{self.fresh(name)}.parquet"

    def python(self, tool, shape, out):
        """A tool whose file is also the program that copies."""
        command = [sys.executable, "-m", f"copies.tools.{tool}", self.servers.url, shape.name, shape.key, str(self.rows[shape.name]), str(out)]
        return self.program(command, out)

    def program(self, command, out=None, done=None):
        """Waits until a program has ended, or until `done` and then stops it."""
        log = self.folder / "program.log"
        with open(log, "w") as output:
            began = time.monotonic()
            words = [str(part) for part in command]
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        seconds, cpu, peak, asked = None, 0, 0, False
        for step in itertools.count():
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            elapsed = time.monotonic() - began
            if ended:
                break
            if elapsed > COPY_SECONDS_MAX:
                process.kill()
                raise TimeoutError(f"not within {COPY_SECONDS_MAX} s: {command[0]}")
            if done and not asked and done():
                seconds, asked = elapsed, True
                os.kill(process.pid, signal.SIGTERM)
            if step % STEPS_BETWEEN_SAMPLES == 0:
                cpu, peak = max(cpu, cpu_seconds([process.pid])), max(peak, peak_mb([process.pid]))
            time.sleep(STEP_SECONDS)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(log.read_text(errors="replace").strip()[-800:] or f"exit code {process.returncode}")
        # The kernel's own account has what the samples missed at the end, but only of children that were waited for. Its
        # peak of memory is no use: it starts with the memory of this process, from before the program replaced it.
        cpu = max(cpu, usage.ru_utime + usage.ru_stime)
        return Copied(seconds or elapsed, cpu, peak, out)

    def output(self):
        """What the last program wrote."""
        return (self.folder / "program.log").read_text(errors="replace")

    def config(self, name, shape, topic=None, form="json"):
        """A configuration of Inlet, and the folder of its lake."""
        path, lake = self.folder / f"{name}.yml", self.folder / name
        path.write_text(self.servers.inlet_config(topic or name, shape.name, lake, topic, form))
        return path, lake

    def inlet(self, verb, config, done, out=None):
        return self.program([BIN / "inlet", verb, "--config", config], out, done)

    def arrived(self, lake, shape):
        found = Lake(lake)
        return lambda: lake.exists() and found.rows() >= self.rows[shape.name]
