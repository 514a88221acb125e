"""A folder of Parquet files as any reader sees it: which rows, and since when.

A row is readable from the moment at which its file has its name and all its bytes: the file's `st_ctime` (a rename
sets it, and so does the last write). Spark writes its files under their final names, so a plain reader would meet
half of one; for Spark, this moment is the kinder one.
"""

import pathlib
import re

import pyarrow
import pyarrow.parquet

EVENT = re.compile(r"event (\d+)")


class Lake:
    """The data files below a folder; those in folders that begin with `_` or `.` are not data."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.counted, self.events = {}, {}

    def files(self):
        for path in self.folder.rglob("*.parquet"):
            if not any(part.startswith(("_", ".")) for part in path.relative_to(self.folder).parts):
                yield path

    def rows(self):
        """Rows in complete files, by their footers. A file's footer is read once."""
        total = 0
        for path in self.files():
            if path not in self.counted:
                try:
                    self.counted[path] = pyarrow.parquet.read_metadata(path).num_rows
                # Without a footer it is not complete yet.
                except (pyarrow.ArrowException, OSError):
                    continue
            total += self.counted[path]
        return total

    def readable_at(self, rows):
        """The moment since which this many rows are readable."""
        total = 0
        for path in sorted(self.files(), key=changed_at):
            total += self.counted[path]
            if total >= rows:
                return changed_at(path)
        return None

    def first_at(self):
        return min((changed_at(path) for path in self.files()), default=None)

    def seen(self, since):
        """When each event became readable first, in files that changed since a moment. A file is read once."""
        self.rows()
        found = {}
        for path in sorted(self.files(), key=changed_at):
            at = changed_at(path)
            if at < since or path not in self.counted:
                continue
            if path not in self.events:
                items = pyarrow.parquet.ParquetFile(path).read(columns=["item"]).column("item").to_pylist()
                self.events[path] = [int(match[1]) for match in (EVENT.fullmatch(item or "") for item in items) if match]
            for event in self.events[path]:
                found.setdefault(event, at)
        return found

    def bytes(self):
        return sum(path.stat().st_size for path in self.files())


def changed_at(path):
    return path.stat().st_ctime
