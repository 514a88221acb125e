"""What happens in PostgreSQL: the same for every path.

The load is open-loop: pgbench starts each transaction at a moment that it has drawn before (a Poisson process with
the wanted rate), whether or not the earlier ones have ended. pgbench's log gives the moment at which COMMIT was
answered, and by how much a transaction started late: if that grows, the generator or PostgreSQL was the bottleneck,
and the report shows it.

Every transaction writes one row with a tag of its own into the column `item`, `event <client><number>`: by this tag,
the row is recognized in the topic and in the lake, whatever surrounds it there.
"""

import dataclasses
import pathlib
import re
import subprocess

COLUMNS = 8
# The table of the food-delivery pipeline. `updated_at` is the start of the transaction, as usual.
TABLE = """
CREATE TABLE {table} (order_id bigserial PRIMARY KEY, customer_name varchar(255), restaurant_name varchar(255),
  item varchar(255), amount numeric(10,2), order_status varchar(50),
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON {table} (updated_at);
INSERT INTO {table} (customer_name, restaurant_name, item, amount, order_status)
SELECT 'Customer ' || i % 9000, 'Restaurant ' || i % 300, 'Item number ' || i % 5000, (i::bigint * 7919 % 1000000) / 100.0, 'PLACED'
FROM generate_series(1, {rows}) i;
VACUUM ANALYZE {table};
"""
COUNT = "\\set n :n + 1\n\\set event (:client_id + :first) * 1000000 + :n\n"
NEW = (
    "INSERT INTO {table} (customer_name, restaurant_name, item, amount, order_status) "
    "VALUES ('Asha Rao', 'Blue Door', 'event ' || :event, :n / 100.0, 'PLACED');\n"
)
CHANGE = (
    "\\set id random(1, {rows})\n"
    "UPDATE {table} SET order_status = 'DELIVERED', item = 'event ' || :event, updated_at = now() WHERE order_id = :id;\n"
)
# Holds its transaction open for 0.1 to 3 s after the row got its `updated_at`: it commits after rows that are newer.
LATE = f"{COUNT}\\set ms random(100, 3000)\nBEGIN;\n{NEW}\\sleep :ms ms\nCOMMIT;\n"
MANY = (
    "INSERT INTO {table} (customer_name, restaurant_name, item, amount, order_status) "
    "SELECT 'Customer ' || i % 9000, 'Restaurant ' || i % 300, 'Item number ' || i % 5000, i / 100.0, 'PLACED' "
    "FROM generate_series(1, {many}) i;\n"
)
BACKLOG = """
CREATE OR REPLACE PROCEDURE backlog_{table}(many int) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..many LOOP
    INSERT INTO {table} (customer_name, restaurant_name, item, amount, order_status)
    VALUES ('Asha Rao', 'Blue Door', 'Dosa', i / 100.0, 'PLACED');
    COMMIT;
  END LOOP;
END $$;
SET synchronous_commit = off;
CALL backlog_{table}({many});
"""
EVENT = re.compile(rb"event (\d+)")
BULK_ROWS = 1_000


@dataclasses.dataclass
class Committed:
    """Events and the moment at which the client saw each COMMIT; how late the generator started them."""

    at: dict
    start_delays: list


class Load:
    """The transactions of one path's table."""

    def __init__(self, servers, folder, table, rows):
        self.servers, self.folder, self.table, self.rows = servers, pathlib.Path(folder), table, rows
        self.runs = 0

    def create(self):
        self.servers.sql(TABLE.format(table=self.table, rows=self.rows))

    def steady(self, rate, seconds):
        """Single-row transactions, seven inserts to three updates."""
        scripts = [(COUNT + NEW, 7), (COUNT + CHANGE, 3)]
        return self.wait([self.begin(scripts, rate, seconds, clients=16)])

    def late(self, rate, seconds):
        """Single-row inserts at a rate, and beside them a tenth of it in transactions that commit late."""
        late_rate = max(rate // 10, 5)
        quick = self.begin([(COUNT + NEW, 1)], rate, seconds, clients=8)
        late = self.begin([(LATE, 1)], late_rate, seconds, clients=min(70, late_rate * 3))
        return self.wait([quick]), self.wait([late])

    def bulk(self, seconds):
        """Transactions of 1,000 rows as fast as one connection commits them; answers how many rows."""
        done = self.wait([self.begin([(MANY, 1)], None, seconds, clients=1)])
        return len(done.at) * BULK_ROWS

    def backlog(self, many):
        """Single-row transactions in a loop in the server, while the path is stopped."""
        self.servers.sql(BACKLOG.format(table=self.table, many=many))

    def begin(self, scripts, rate, seconds, clients):
        self.runs += 1
        name = f"{self.table}-{self.runs}"
        command = ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(seconds), "-D", "n=0"]
        # Events of different runs differ by the number of their client.
        command += ["-D", f"first={self.runs * 100}", "-l", f"--log-prefix={self.folder}/{name}"]
        command += ["-R", str(rate)] if rate else []
        for number, (text, weight) in enumerate(scripts):
            script = self.folder / f"{name}.{number}.sql"
            script.write_text(text.format(table=self.table, rows=self.rows, many=BULK_ROWS))
            command += ["-f", f"{script}@{weight}"]
        process = subprocess.Popen([*command, self.servers.url], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return process, self.runs * 100, f"{name}.*"

    def wait(self, started):
        at, delays = {}, []
        for process, first, logs in started:
            error = process.communicate()[1]
            if process.returncode:
                raise RuntimeError(f"pgbench: {error.strip()}")
            for log in sorted(self.folder.glob(logs)):
                if log.suffix == ".sql":
                    continue
                numbers = {}
                for line in log.read_text().splitlines():
                    fields = line.split()
                    client = int(fields[0])
                    # The log holds a client's transactions in their order, and each counts one further.
                    numbers[client] = numbers.get(client, 0) + 1
                    at[(client + first) * 1_000_000 + numbers[client]] = int(fields[4]) + int(fields[5]) / 1e6
                    delays += [int(fields[6]) / 1e6] if len(fields) > 6 else []
        return Committed(at, delays)
