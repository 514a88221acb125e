"""The clock, and what processes use: CPU, memory, their number.

Every time is this machine's CLOCK_REALTIME, in seconds since 1970: of the load generator (pgbench's log), of the
topic's reader (`time.time()`), and of the file system (`st_ctime`, which the kernel takes from the same clock,
rounded down to its last tick, 1 to 4 ms).
"""

import os
import pathlib
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLES_PER_SECOND = 5
STEP_SECONDS = 0.05


def now():
    return time.time()


def until(condition, what, seconds, step=STEP_SECONDS, alive=lambda: None):
    """Waits until a condition holds, and answers when; fails by name, or as `alive` fails."""
    end = time.monotonic() + seconds
    while not condition():
        alive()
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(step)
    return now()


def read(path):
    """A file of /proc, empty where its process has ended meanwhile."""
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


def command_of(pid):
    return read(f"/proc/{pid}/comm").strip()


def children(pid):
    """The direct children of a process, of all its threads."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(child) for task in tasks for child in read(f"/proc/{pid}/task/{task}/children").split()]


def tree(roots):
    """These processes and all below them."""
    found, todo = [], list(roots)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children(pid)
    return found


def cpu_seconds(roots):
    """CPU time of process trees, with that of children that have ended and were waited for."""
    ticks = 0
    for pid in tree(roots):
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


def memory_mb(roots):
    """Resident memory of process trees; pages that two processes share count for each."""
    pages = 0
    for pid in tree(roots):
        fields = read(f"/proc/{pid}/statm").split()
        pages += int(fields[1]) if fields else 0
    return pages * PAGE / 1e6


def peak_mb(roots):
    """The greatest resident memory that each process of some trees ever had, summed up."""
    lines = [line for pid in tree(roots) for line in read(f"/proc/{pid}/status").splitlines() if line.startswith("VmHWM")]
    return sum(int(line.split()[1]) for line in lines) * 1024 / 1e6


def machine_busy_seconds():
    """CPU time that the whole machine has spent, without idling and waiting for disks."""
    fields = [int(field) for field in read("/proc/stat").splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def own_cpu_seconds():
    """CPU time of this process, and of its children that have ended: load generators and readers."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Usage:
    """CPU seconds of the path, of PostgreSQL, of Kafka, of the measuring and of all other programs since a moment."""

    def __init__(self, roots, servers):
        self.groups = {
            "path": roots,
            "postgres": lambda: [servers.postgres_pid],
            "kafka": lambda: [servers.kafka_pid],
        }
        self.began, self.before = now(), self.read()

    def read(self):
        values = {name: cpu_seconds(roots()) for name, roots in self.groups.items()}
        values["measuring"] = own_cpu_seconds()
        values["others"] = machine_busy_seconds() - sum(values.values())
        return values

    def since(self):
        after = self.read()
        used = {f"{name}_cpu_s": round(after[name] - self.before[name], 3) for name in after}
        return {"seconds": round(now() - self.began, 3), **used}


class Memory:
    """Samples a path's memory until it is stopped."""

    def __init__(self, roots):
        self.roots, self.samples, self.ended = roots, [], threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.ended.wait(1 / SAMPLES_PER_SECOND):
            self.samples.append((now(), memory_mb(self.roots())))

    def peak_mb(self, since=0):
        return max((mb for at, mb in self.samples if at >= since), default=0)

    def stop(self):
        self.ended.set()
        self.thread.join()


def quantiles(values):
    """p50, p99, p99.9 and the greatest of some seconds, in milliseconds, by the nearest rank."""
    ordered = sorted(values)
    if not ordered:
        return None
    ranks = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1}
    at = lambda share: ordered[max(0, min(len(ordered) - 1, -(-int(share * 1000) * len(ordered) // 1000) - 1))]
    return {name: round(at(share) * 1000, 1) for name, share in ranks.items()} | {"rows": len(ordered)}
