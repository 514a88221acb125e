"""`make growth [PARTS=..] [RECORD=1]`: what grows with a table, with their number, with dates, consumers and a limit of memory."""

import datetime
import sys
import tempfile
import time

from compare import options
from compare.__main__ import machine, versions
from compare.servers import Servers

from . import parts, report
from .world import World

DEFAULTS = {
    "PARTS": ",".join(parts.ALL),
    # Rows of the table in each round of `size`, all changed at the same rate.
    "SIZES": "1000000,10000000",
    # Single-row updates a second, and for how many seconds.
    "RATE": 200,
    "SECONDS": 20,
    # Keys of the table of `census`; a tenth of them is deleted.
    "KEYS": 10_000_000,
    # Rows that wait while Inlet may use `LIMIT_MB` of memory.
    "BACKLOG": 20_000_000,
    "LIMIT_MB": 256,
    "TABLES": 200,
    # Tables of the database that Inlet does not carry.
    "CATALOG": 10_000,
    "DATES": 1_000,
    "CONSUMERS": "1,2,4",
    # Commits of `years`; a day has 17,280.
    "COMMITS": "17280,100000",
    # 1: keep the results as the recorded run of the repository.
    "RECORD": 0,
}


def main():
    wanted = options.read(DEFAULTS, __doc__)
    options.end_in_order()
    began, sections, failed = time.monotonic(), [], {}
    say = lambda text: print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)
    for name in wanted["PARTS"].split(","):
        # Servers of its own for each part: a part leaves no table and no cache behind.
        with tempfile.TemporaryDirectory(prefix="inlet-growth-") as folder, Servers() as servers:
            found = versions(servers)
            try:
                sections.append(parts.ALL[name](World(servers, folder, wanted, say)))
            # A part that fails is reported, and the others go on.
            except Exception as error:
                failed[name] = f"{type(error).__name__}: {error}"
                say(f"{name} FAILED: {error}")
    results = {
        "command": options.command("growth", DEFAULTS, wanted),
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began), "machine": machine(), "versions": found,
        "sections": sections, "failed": failed,
    }
    print("\n".join(report.lines(results)))
    if wanted["RECORD"]:
        options.record("growth", results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
