"""One run of one path, phase by phase, on a table of its own.

1. `initial`: the path starts on a table with `rows` rows, until all are in topic and lake.
2. `idle`: nothing happens.
3. `steady`: single-row transactions at `rate`; the first seconds warm the path up and do not count.
4. `late`: transactions that commit out of order with `updated_at`.
5. `bulk`: one connection commits transactions of 1,000 rows as fast as it can.
6. `backlog`: the path is stopped, single-row transactions pile up, and the path is started again.
7. `equal`: the lake is compared with PostgreSQL, value for value.

A phase that fails ends the run, with its reason in the result: what would follow could mean nothing.
"""

import contextlib
import dataclasses
import pathlib

from . import equal, topic
from .lake import Lake, Watch
from .load import COLUMNS, Load
from .measure import Memory, Usage, memory_mb, now, quantiles, tree, until

PATIENCE_SECONDS = 300
SETTLE_SECONDS = 3
CHECK_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much a run does."""

    rows: int
    rate: int
    seconds: int
    warm_up: int
    backlog: int
    idle: int = 5
    late_seconds: int = 6
    bulk_seconds: int = 3


class Run:
    def __init__(self, kind, servers, folder, repetition, sizes, say):
        self.kind, self.servers, self.sizes, self.say = kind, servers, sizes, say
        self.table = f"orders_{kind.name.replace('-', '_')}_{repetition}"
        self.folder = pathlib.Path(folder) / self.table
        self.folder.mkdir(parents=True)
        self.load = Load(servers, self.folder, self.table, sizes.rows)
        self.result = {"path": kind.name, "repetition": repetition, "phases": {}}

    def all(self):
        """Runs every phase, cleans up, and answers the results."""
        self.path = self.watermark = self.memory = None
        phase = "create"
        try:
            self.load.create()
            self.path = self.kind(self.servers, self.folder, self.table)
            self.lake = Lake(self.path.lake)
            self.watermark = topic.Watermark(self.servers.kafka, self.path.topic) if self.path.topic else None
            self.memory = Memory(self.path.roots)
            for phase in ("initial", "idle", "steady", "late", "bulk", "backlog", "equal"):
                self.say(f"{self.kind.title}: {phase}")
                self.result["phases"][phase] = getattr(self, phase)()
        # Whatever goes wrong with one path must not take the others' figures away, and is reported.
        except Exception as error:
            self.result["failed"] = {"phase": phase, "reason": f"{type(error).__name__}: {error}"}
            self.say(f"{self.kind.title}: {phase} FAILED: {error}")
        finally:
            self.clean()
        return self.result

    def clean(self):
        if self.memory:
            self.memory.stop()
            self.result["memory"] = [(round(at, 1), round(mb)) for at, mb in self.memory.samples[::5]]
        try:
            if self.watermark:
                self.watermark.close()
            if self.path:
                self.path.stop()
                self.path.remove()
            self.servers.sql(f"DROP TABLE IF EXISTS {self.table}")
        except Exception as error:
            self.say(f"{self.kind.title}: cleaning up: {error}")

    def initial(self):
        bytes_ = self.servers.value(f"SELECT pg_table_size('{self.table}')")
        usage, began = Usage(self.path.roots, self.servers), now()
        self.path.start()
        marks = self.arrive(began, self.sizes.rows, 0, 0)
        return {
            "rows": self.sizes.rows, "values": self.sizes.rows * COLUMNS, "bytes": bytes_, **marks, **usage.since(),
            "peak_mb": round(self.memory.peak_mb(), 1), "lake_bytes": self.lake.bytes(),
        }

    def arrive(self, began, rows, topic_before, lake_before):
        """Waits until this many more rows are in topic and lake; seconds from `began` to the first and the last one."""
        marks = {"topic_first_s": None, "topic_s": None, "lake_first_s": None, "lake_s": None}

        def look():
            if self.watermark and marks["topic_s"] is None:
                arrived = self.watermark.rows() - topic_before
                if arrived > 0 and marks["topic_first_s"] is None:
                    marks["topic_first_s"] = now() - began
                if arrived >= rows:
                    marks["topic_s"] = now() - began
            in_lake = self.lake.rows()
            if in_lake > lake_before and marks["lake_first_s"] is None:
                marks["lake_first_s"] = (self.lake.readable_at(lake_before + 1) or now()) - began
            in_topic = not self.watermark or marks["topic_s"] is not None
            return in_topic and in_lake >= lake_before + rows

        until(look, f"{rows} rows of {self.kind.title}", PATIENCE_SECONDS, alive=self.path.check)
        marks["lake_s"] = (self.lake.readable_at(lake_before + rows) or now()) - began
        return {name: value and round(value, 3) for name, value in marks.items()}

    def idle(self):
        # Compilers, checkpoints and flushes of the load before come to an end first.
        pause(SETTLE_SECONDS, self.path.check)
        usage = Usage(self.path.roots, self.servers)
        pause(self.sizes.idle, self.path.check)
        return {**usage.since(), "mb": round(memory_mb(self.path.roots()), 1), "processes": len(tree(self.path.roots()))}

    def steady(self):
        reader = topic.Reader(self.servers.kafka, self.path.topic, self.folder) if self.path.topic else None
        usage, began = Usage(self.path.roots, self.servers), now()
        with self.watched(began):
            done = self.load.steady(self.sizes.rate, self.sizes.warm_up + self.sizes.seconds)
        final = self.final(done.at)
        marks = self.see(reader, final, began)
        used = usage.since()
        counted = {event for event, at in done.at.items() if at >= began + self.sizes.warm_up}
        result = {
            "committed": len(done.at), "counted": len(counted), "overwritten": len(done.at) - len(final),
            "start_delay_ms": quantiles(done.start_delays), **used, "peak_mb": round(self.memory.peak_mb(began), 1),
        }
        for place, seen in marks.items():
            waits = [seen[event] - done.at[event] for event in counted if event in seen]
            result[place] = {
                "latency_ms": quantiles(waits), "sample_ms": [round(wait * 1000, 1) for wait in sorted(waits)[:: max(1, len(waits) // 500)]],
                "lost": len(final - seen.keys()), "overwritten_seen": len((done.at.keys() - final) & seen.keys()),
            }
        return result

    @contextlib.contextmanager
    def watched(self, since):
        """Looks at the lake meanwhile."""
        watch = Watch(self.lake, since)
        try:
            yield
        finally:
            watch.stop()

    def final(self, events):
        """Those of the events that are still the state of a row."""
        items = self.servers.sql(f"SELECT substr(item, 7) FROM {self.table} WHERE item LIKE 'event %'")
        return events.keys() & {int(item) for item in items}

    def see(self, reader, events, since):
        """When each event was seen in topic and lake, as soon as all were or the path's patience is over."""

        def look():
            return all(events <= seen.keys() for seen in self.places(reader, since).values())

        try:
            until(look, "every event", self.path.patience, step=CHECK_SECONDS, alive=self.path.check)
        except TimeoutError:
            # What is missing now counts as lost.
            pass
        if reader:
            reader.stop()
        return self.places(reader, since)

    def places(self, reader, since):
        places = {"topic": reader.seen()} if reader else {}
        return places | {"lake": self.lake.seen(since)}

    def late(self):
        reader = topic.Reader(self.servers.kafka, self.path.topic, self.folder) if self.path.topic else None
        began = now()
        with self.watched(began):
            quick, late = self.load.late(max(self.sizes.rate // 5, 20), self.sizes.late_seconds)
        events = quick.at.keys() | late.at.keys()
        marks = self.see(reader, events, began)
        result = {"committed": len(events), "committed_late": len(late.at)}
        for place, seen in marks.items():
            result[place] = {"lost": len(events - seen.keys()), "lost_of_late": len(late.at.keys() - seen.keys())}
        return result

    def counts(self):
        return self.watermark.rows() if self.watermark else 0, self.lake.rows()

    def bulk(self):
        before, began = self.counts(), now()
        usage = Usage(self.path.roots, self.servers)
        rows = self.load.bulk(self.sizes.bulk_seconds)
        written = now() - began
        return {"rows": rows, "written_s": round(written, 3), **self.arrive(began, rows, *before), **usage.since()}

    def backlog(self):
        before = self.counts()
        self.path.stop()
        self.load.backlog(self.sizes.backlog)
        held = 0
        if self.path.slot:
            slot = f"FROM pg_replication_slots WHERE slot_name = '{self.path.slot}'"
            held = self.servers.value(f"SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) {slot}")
        began = now()
        self.path.start()
        usage = Usage(self.path.roots, self.servers)
        marks = self.arrive(began, self.sizes.backlog, *before)
        return {"rows": self.sizes.backlog, "wal_held_bytes": held, **marks, **usage.since(), "peak_mb": round(self.memory.peak_mb(began), 1)}

    def equal(self):
        # Files that are being merged could be replaced between the listing and the reading.
        self.path.stop()
        return equal.compare(self.servers, self.table, self.lake, self.folder)


def pause(seconds, alive):
    """Measures for a while in which nothing is expected to happen."""
    end = now() + seconds
    until(lambda: now() >= end, "the end of a pause", 2 * seconds + 10, alive=alive)
