"""What the parts share: servers, a folder, the options, and Inlet's services as programs that end with their block."""

import contextlib
import itertools
import pathlib

from compare.lake import Lake
from compare.measure import Usage, cpu_seconds, memory_mb, now, peak_mb, until
from compare.paths.program import Program
from compare.servers import BIN

ARRIVAL_SECONDS_MAX = 1_800
# How often a lake is counted while rows arrive: each look opens the new files.
LOOK_SECONDS = 0.2
STREAMING = "streaming:\n  flush_interval: 500ms\n"


class World:
    """The servers and the options of a part."""

    def __init__(self, servers, folder, wanted, say):
        self.servers, self.folder, self.wanted, self.say = servers, pathlib.Path(folder), wanted, say
        self.numbers = itertools.count(1)

    def fresh(self, name):
        """A folder of its own for a pipeline: its configuration, its lake and its logs."""
        folder = self.folder / f"{name}-{next(self.numbers)}"
        folder.mkdir()
        return folder

    def config(self, folder, table, topic=None, kafka=""):
        path = folder / "inlet.yml"
        text = self.servers.inlet_config(folder.name, table, folder / "lake", topic)
        path.write_text(text.replace("datalake:", kafka + "datalake:") + STREAMING)
        return path

    @contextlib.contextmanager
    def running(self, config, *verbs, cell=None):
        """Starts services, and stops them at the end of the block."""
        programs = []
        try:
            for number, verb in enumerate(verbs):
                command = [BIN / "inlet", verb, "--config", config]
                programs.append(Program(f"{verb}-{number}", cell.enter(command) if cell else command, config.parent))
            yield Services(self.servers, programs, config.parent / "lake")
        finally:
            for program in programs:
                program.stop()


class Services:
    """Programs that run, and the lake they fill."""

    def __init__(self, servers, programs, lake):
        self.servers, self.programs, self.lake = servers, programs, Lake(lake)
        self.began = now()

    def roots(self):
        return [program.process.pid for program in self.programs]

    def alive(self):
        for program in self.programs:
            program.check()

    def arrived(self, rows):
        """Seconds from the start until as many rows are in the lake."""
        until(lambda: self.lake.rows() >= rows, f"{rows:,} rows in the lake", ARRIVAL_SECONDS_MAX, LOOK_SECONDS, self.alive)
        return self.lake.readable_at(rows) - self.began

    def usage(self):
        return Usage(self.roots, self.servers)

    def cpu_s(self):
        return cpu_seconds(self.roots())

    def memory_mb(self):
        return memory_mb(self.roots())

    def peak_mb(self):
        return peak_mb(self.roots())
