"""A folder of Parquet files as any reader sees it: which rows, and since when.

A row is readable from the moment at which its file has its name and all its bytes: the file's `st_ctime` (a rename
sets it, and so does the last write). Spark writes its files under their final names, so a plain reader would meet
half of one; for Spark, this moment is the kinder one.

A lake may merge small files into larger ones later. So files are looked at while the load runs, and what was seen in
a file stays known after it has been replaced.
"""

import dataclasses
import os
import pathlib
import re
import threading

import pyarrow
import pyarrow.parquet

EVENT = re.compile(r"event (\d+)")
WATCH_SECONDS = 0.5
HIDDEN = ("_", ".")


@dataclasses.dataclass(frozen=True)
class File:
    """A file at a moment: another file of the same name is another one."""

    path: pathlib.Path
    inode: int
    at: float


class Lake:
    """The data files below a folder; those in folders that begin with `_` or `.` are not data."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.counted, self.events = {}, {}

    def files(self):
        """The files that exist now, in the order in which they became readable."""
        found = []
        for folder, below, names in os.walk(self.folder):
            # Folders that hold no data are left out before they are entered: they belong to the writer.
            below[:] = [name for name in below if not name.startswith(HIDDEN)]
            for name in names:
                if name.endswith(".parquet") and not name.startswith(HIDDEN):
                    path = pathlib.Path(folder, name)
                    try:
                        stat = path.stat()
                    except FileNotFoundError:
                        # It was replaced while the folder was listed.
                        continue
                    found.append(File(path, stat.st_ino, stat.st_ctime))
        return sorted(found, key=lambda file: file.at)

    def count(self, file):
        """Rows of a file by its footer, which is read once; None while it is incomplete."""
        if file not in self.counted:
            try:
                self.counted[file] = pyarrow.parquet.read_metadata(file.path).num_rows
            except (pyarrow.ArrowException, OSError):
                return None
        return self.counted[file]

    def rows(self):
        """Rows in complete files."""
        return sum(self.count(file) or 0 for file in self.files())

    def readable_at(self, rows):
        """The moment since which this many rows are readable."""
        total = 0
        for file in self.files():
            total += self.count(file) or 0
            if total >= rows:
                return file.at
        return None

    def look(self, since):
        """Reads the events of files that became readable since a moment; each file once."""
        for file in self.files():
            if file.at < since or file in self.events or self.count(file) is None:
                continue
            try:
                items = pyarrow.parquet.ParquetFile(file.path).read(columns=["item"]).column("item").to_pylist()
            except OSError:
                # It was replaced: its rows are in another file.
                continue
            found = (EVENT.fullmatch(item or "") for item in items)
            self.events[file] = [int(match[1]) for match in found if match]

    def seen(self, since):
        """When each event became readable first, in files since a moment, also in those that were replaced."""
        self.look(since)
        found = {}
        for file in sorted(self.events, key=lambda file: file.at):
            if file.at >= since:
                for event in self.events[file]:
                    found.setdefault(event, file.at)
        return found

    def bytes(self):
        return sum(file.path.stat().st_blocks * 512 for file in self.files())


class Watch:
    """Looks at a lake while a load runs."""

    def __init__(self, lake, since):
        self.lake, self.since, self.ended = lake, since, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.ended.wait(WATCH_SECONDS):
            self.lake.look(self.since)

    def stop(self):
        self.ended.set()
        self.thread.join()
