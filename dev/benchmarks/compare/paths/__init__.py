"""The paths from PostgreSQL to the lake that are compared; each file holds one product.

A path is a class with these members:

* `name`, `title`, `settings`: a word for the command line, and what the report calls it and its settings;
* `steps`: what a user does until rows arrive, one step each;
* `topic`: the name of its topic, or None; `lake`: the folder of its lake;
* `slot`: its replication slot, or None;
* `patience`: seconds after which a row that has not arrived counts as lost;
* `start()`, `stop()`, `remove()`: its processes, started, ended, and everything deleted that it left on the servers;
* `roots()`: the process ids of the running processes; `check()` raises with the reason when one has ended or failed.
"""

from . import debezium, inlet, spark

ALL = {
    path.name: path
    for path in (
        debezium.Debezium,
        debezium.DebeziumTuned,
        spark.Spark,
        spark.SparkTuned,
        inlet.InletKafka,
        inlet.InletDirect,
    )
}
