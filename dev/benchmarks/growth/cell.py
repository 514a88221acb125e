"""A control group of Linux that limits the memory of the programs in it; needs root."""

import os
import pathlib
import re

ROOT = pathlib.Path("/sys/fs/cgroup")


class Cell:
    """From `__enter__` to `__exit__`; the programs in it must have ended by then."""

    def __init__(self, name, limit_mb):
        # Version 1 has a tree for memory alone; in version 2 memory is one file among others.
        old = (ROOT / "memory").is_dir()
        self.folder = ROOT / ("memory" if old else "") / f"inlet-{os.getpid()}-{name}"
        self.limit = self.folder / ("memory.limit_in_bytes" if old else "memory.max")
        self.events = self.folder / ("memory.oom_control" if old else "memory.events")
        self.bytes = limit_mb * 1_000_000

    def __enter__(self):
        self.folder.mkdir()
        self.limit.write_text(str(self.bytes))
        swap = self.folder / "memory.swap.max"
        if swap.exists():
            swap.write_text("0")
        return self

    def __exit__(self, *_):
        self.folder.rmdir()

    def enter(self, command):
        """The command that starts a program inside."""
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh", *command]

    def killed(self):
        """How many programs the kernel has ended because the limit was reached."""
        return int(re.search(r"^oom_kill (\d+)", self.events.read_text(), re.M)[1])
