"""One function a part: it makes the tables, lets Inlet work and answers a table of figures.

A section is `title`, `headers`, `rows` (texts) and `note`, which tells what was done.
"""

import json
import subprocess
import time

from compare.lake import Watch
from compare.load import CHANGE, COUNT, Load
from compare.measure import Memory, Usage, now, quantiles, until
from compare.servers import BIN
from compare.topic import Watermark

from .cell import Cell
from .world import LOOK_SECONDS
from .years import years

REST_SECONDS = 10
PARTITIONS = 4
TOPIC_ROWS, TOPIC_SECONDS_MAX = 2_000_000, 300
DATES_ROWS = 1_000_000
DELETES_SECONDS_MAX = 900
ROWS_OF_A_TABLE = 1_000
STATEMENT_ROWS = 10_000_000
# Without indexes while it is filled, which takes a fifth of the time.
CREATE = """CREATE TABLE {table} (order_id bigint NOT NULL, customer_name varchar(255), restaurant_name varchar(255), item varchar(255),
  amount numeric(10,2), order_status varchar(50), created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);"""
FILL = """INSERT INTO {table} SELECT i, 'Customer ' || i % 9000, 'Restaurant ' || i % 300, 'Item number ' || i % 5000,
  (i::bigint * 7919 % 1000000) / 100.0, 'PLACED', {moment}, {moment} FROM generate_series({first}, {last}) i;"""
FINISH = "ALTER TABLE {table} ADD PRIMARY KEY (order_id); CREATE INDEX ON {table} (updated_at); VACUUM ANALYZE {table}; CHECKPOINT;"


# Rows of yesterday, in their order: of rows that were just stamped, every tenth second reads those of five minutes again.
YESTERDAY = "date_trunc('day', now()) - interval '1 day' + i * interval '0.5 ms'"


def orders(world, table, rows, moment=YESTERDAY):
    world.servers.sql(CREATE.format(table=table))
    for first in range(1, rows + 1, STATEMENT_ROWS):
        last = min(rows, first + STATEMENT_ROWS - 1)
        world.servers.sql(FILL.format(table=table, moment=moment, first=first, last=last))
    world.servers.sql(FINISH.format(table=table))


def drop(world, table):
    world.servers.sql(f"DROP TABLE {table}")


def percent(seconds, of):
    """A share of one core."""
    return f"{100 * seconds / of:.1f} %"


def section(title, note, headers, rows):
    return {"title": title, "note": note, "headers": headers, "rows": rows}


def size(world):
    """The same rate of changes on tables of different sizes."""
    rate, seconds, rows = world.wanted["RATE"], world.wanted["SECONDS"], []
    for many in map(int, world.wanted["SIZES"].split(",")):
        table = f"orders_{many}"
        orders(world, table, many)
        folder = world.fresh(table)
        load = Load(world.servers, folder, table, many)
        before = Usage(lambda: [], world.servers)
        updates(load, rate, seconds)
        alone = before.since()
        with world.running(world.config(folder, table), "run") as services:
            loaded = services.arrived(many)
            peak = services.peak_mb()
            rest = at_rest(services)
            since, watch = now(), Watch(services.lake, now())
            usage = services.usage()
            at = updates(load, rate, seconds).at
            steady = usage.since()
            until(lambda: set(at) <= set(services.lake.seen(since)), "all changes in the lake", 60, 0.2, services.alive)
            watch.stop()
            seen = services.lake.seen(since)
            late = quantiles([seen[event] - at[event] for event in at])
            memory = services.memory_mb()
        rows.append([
            f"{many:,}", f"{loaded:.1f} s", f"{peak:.0f} MB", f"{memory:.0f} MB",
            percent(rest["path_cpu_s"], rest["seconds"]), percent(rest["postgres_cpu_s"], rest["seconds"]),
            percent(steady["path_cpu_s"], steady["seconds"]),
            percent(steady["postgres_cpu_s"] - alone["postgres_cpu_s"], steady["seconds"]), f"{late['p99']:.0f} ms",
        ])
        world.say(f"size: {rows[-1]}")
        drop(world, table)
    return section(
        "Rows in the table",
        f"`inlet run` loads a table, rests {REST_SECONDS} s, and then {rate} single-row updates a second by key change it for {seconds} s. "
        "PostgreSQL's CPU under the changes is what it used beyond the same changes without Inlet.",
        ["rows", "load", "peak memory", "memory then", "CPU at rest", "PostgreSQL at rest", "CPU under changes",
         "PostgreSQL for Inlet", "COMMIT to lake, p99"],
        rows,
    )


def updates(load, rate, seconds):
    """Updates of random rows; each carries a tag by which the lake is searched."""
    return load.wait([load.begin([(COUNT + CHANGE, 1)], rate, seconds, clients=8)])


def at_rest(services):
    """What a span without any change costs."""
    usage = services.usage()
    time.sleep(REST_SECONDS)
    return usage.since()


def backlog(world):
    """A table that is much larger than the memory that Inlet may use."""
    many, limit, rows = world.wanted["BACKLOG"], world.wanted["LIMIT_MB"], []
    orders(world, "orders", many)
    for title, verbs, topic in [("without a broker", ("run",), None), ("through Kafka, both services", ("producer", "consumer"), "orders")]:
        folder = world.fresh("backlog")
        with Cell(folder.name, limit) as cell:
            with world.running(world.config(folder, "orders", topic), *verbs, cell=cell) as services:
                taken = services.arrived(many)
                peak = services.peak_mb()
            rows.append([title, f"{limit} MB", f"{taken:.0f} s", f"{many / taken / 1000:,.0f} k", f"{peak:.0f} MB", str(cell.killed())])
        world.say(f"backlog: {rows[-1]}")
    return section(
        "A backlog under a limit of memory",
        f"{many:,} rows wait; a control group of Linux holds the processes and the file pages that they write below the limit.",
        ["way", "limit", "until all rows are in the lake", "rows/s", "peak of the processes", "ended by the kernel"],
        rows,
    )


def tables(world):
    """Many tables in one pipeline."""
    many, rows = world.wanted["TABLES"], []
    world.servers.sql("CREATE SCHEMA many;")
    for number in range(many):
        world.servers.sql(
            f"CREATE TABLE many.t{number} (id bigint PRIMARY KEY, name text, updated_at timestamptz NOT NULL DEFAULT now());"
            f"INSERT INTO many.t{number} SELECT i, 'Row ' || i FROM generate_series(1, {ROWS_OF_A_TABLE}) i;"
        )
    world.servers.sql("VACUUM ANALYZE;")
    for title, verbs, topic in [("without a broker", ("run",), None), ("through Kafka, both services", ("producer", "consumer"), "shop")]:
        folder = world.fresh("tables")
        config = world.config(folder, '"many.*"')
        if topic:
            config.write_text(config.read_text().replace("datalake:", f"kafka:\n  brokers: {world.servers.kafka}\ndatalake:"))
        with world.running(config, *verbs) as services:
            taken = services.arrived(many * ROWS_OF_A_TABLE)
            peak = services.peak_mb()
            rest = at_rest(services)
            memory = services.memory_mb()
        rows.append([
            title, str(many), f"{taken:.1f} s", f"{peak:.0f} MB", f"{memory:.0f} MB", percent(rest["path_cpu_s"], rest["seconds"]),
            percent(rest["postgres_cpu_s"], rest["seconds"]),
        ])
        world.say(f"tables: {rows[-1]}")
    return section(
        "Tables in one pipeline",
        f"Each table has {ROWS_OF_A_TABLE:,} rows; `table: \"many.*\"` names them. After all rows are in the lake, Inlet rests {REST_SECONDS} s.",
        ["way", "tables", "start until all rows are in the lake", "peak memory", "memory at rest", "CPU at rest", "PostgreSQL at rest"],
        rows,
    )


def catalog(world):
    """Many tables in the database that Inlet does not carry."""
    rows = []
    orders(world, "orders", 1_000)
    for many in (0, world.wanted["CATALOG"]):
        if many:
            world.servers.sql("CREATE SCHEMA crowd;")
            world.servers.sql("".join(f"CREATE TABLE crowd.t{number} (id bigint PRIMARY KEY, name text);\n" for number in range(many)))
            world.servers.sql("VACUUM ANALYZE pg_class, pg_attribute, pg_index;")
        folder = world.fresh("catalog")
        config = world.config(folder, "orders")
        began = time.monotonic()
        subprocess.run([BIN / "inlet", "check", "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        checked = time.monotonic() - began
        with world.running(config, "run") as services:
            taken = services.arrived(1_000)
            rest = at_rest(services)
        rows.append([f"{many:,}", f"{checked:.2f} s", f"{taken:.2f} s", percent(rest["postgres_cpu_s"], rest["seconds"])])
        world.say(f"catalog: {rows[-1]}")
    return section(
        "Tables in the database beside the one that is carried", "One table of 1,000 rows is carried.",
        ["other tables", "`inlet check`", "start until its rows are in the lake", "PostgreSQL at rest"], rows,
    )


def dates(world):
    """The same rows over one date and over many."""
    rows = []
    for many in (1, world.wanted["DATES"]):
        table = f"orders_{many}_dates"
        orders(world, table, DATES_ROWS, f"timestamptz '2026-11-01 12:00:00+00' - make_interval(days => i % {many})")
        with world.running(world.config(world.fresh(table), table), "run") as services:
            taken = services.arrived(DATES_ROWS)
            rows.append([f"{many:,}", f"{taken:.1f} s", f"{services.cpu_s():.1f} s", f"{services.peak_mb():.0f} MB", f"{len(services.lake.files()):,}"])
        world.say(f"dates: {rows[-1]}")
        drop(world, table)
    return section(
        "Dates in a load", f"{DATES_ROWS:,} rows, without a broker; every batch holds rows of all dates.",
        ["dates", "start until all rows are in the lake", "CPU", "peak memory", "files"], rows,
    )


def consumers(world):
    """As many rows of a topic landed by one process and by several."""
    rows = []
    orders(world, "orders", TOPIC_ROWS)
    for many in map(int, world.wanted["CONSUMERS"].split(",")):
        # A topic of its own for each, since consumers go on where those before them ended.
        folder = world.fresh("consumers")
        config = world.config(folder, "orders", folder.name, kafka=f"  partitions: {PARTITIONS}\n")
        with world.running(config, "producer") as services:
            held = Watermark(world.servers.kafka, folder.name, PARTITIONS)
            until(lambda: held.rows() >= TOPIC_ROWS, "all rows in the topic", TOPIC_SECONDS_MAX, LOOK_SECONDS, services.alive)
            held.close()
        with world.running(config, *["consumer"] * many) as services:
            taken = services.arrived(TOPIC_ROWS)
            rows.append([str(many), f"{taken:.1f} s", f"{TOPIC_ROWS / taken / 1000:,.0f} k", f"{services.cpu_s():.1f} s", f"{services.peak_mb():.0f} MB"])
        world.say(f"consumers: {rows[-1]}")
    return section(
        f"Consumers over {PARTITIONS} partitions", f"{TOPIC_ROWS:,} rows wait in the topic; the processes start at the same moment.",
        ["consumers", "start until all rows are in the lake", "rows/s", "CPU", "peak memory, all"], rows,
    )


def keys_of_last_pass(config):
    """How many keys the pass has compared that ended last; a pass that is under way is awaited."""
    def look():
        answer = subprocess.run([BIN / "inlet", "status", "--config", config, "--json"], check=True, capture_output=True, text=True)
        return json.loads(answer.stdout)["tables"][0]["deletes"]
    def is_over(deletes):
        return deletes["seen_until"] is not None and deletes["comparing"] is None
    until(lambda: is_over(look()), "the pass over the keys has ended", DELETES_SECONDS_MAX, 1)
    return look()["keys"]


def census(world):
    """Deletes of one statement, found by comparing keys."""
    many, gone, rows = world.wanted["KEYS"], world.wanted["KEYS"] // 10, []
    for percent_of_core in (2, 100):
        table = f"orders_{percent_of_core}"
        orders(world, table, many)
        config = world.config(world.fresh(table), table)
        config.write_text(f"{config.read_text()}  census_percent: {percent_of_core}\n")
        with world.running(config, "run") as services:
            services.arrived(many)
            # The pass that a load starts is over, and what is measured is one after it.
            keys_of_last_pass(config)
            at_rest(services)
            usage, peak = services.usage(), Memory(services.roots)
            world.servers.sql(f"DELETE FROM {table} WHERE order_id % 10 = 0;")
            began = now()
            until(lambda: services.lake.rows() >= many + gone, "all deletes in the lake", DELETES_SECONDS_MAX, LOOK_SECONDS, services.alive)
            found = services.lake.readable_at(many + gone) - began
            used = usage.since()
            peak.stop()
            # A second pass would compare only the keys that are left.
            compared = keys_of_last_pass(config)
            if compared != many:
                raise RuntimeError(f"the last pass compared {compared:,} of {many:,} keys: the deletes were found by several")
            rows.append([
                f"{many:,}", f"{gone:,}", f"{percent_of_core} %", f"{found:.0f} s", f"{used['path_cpu_s']:.1f} s",
                f"{used['postgres_cpu_s']:.1f} s", f"{peak.peak_mb():.0f} MB",
            ])
        world.say(f"census: {rows[-1]}")
        drop(world, table)
    return section(
        "Deletes found by comparing keys", "One statement deletes every tenth row; `census_percent` is 2 % of a core by default. "
        "PostgreSQL's CPU includes the statement itself.",
        ["keys", "deleted", "`census_percent`", "COMMIT until all deletes are in the lake", "CPU", "PostgreSQL", "peak memory"], rows,
    )


ALL = {"size": size, "census": census, "backlog": backlog, "tables": tables, "catalog": catalog, "dates": dates, "consumers": consumers,
       "years": years}
