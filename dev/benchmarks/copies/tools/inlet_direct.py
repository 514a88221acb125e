"""`inlet run` without a broker, from its start until every row is in the lake."""

TITLE, WRITES = "Inlet: PostgreSQL -> lake", True


def copy(bench, shape):
    config, lake = bench.config(bench.fresh("direct"), shape)
    return bench.inlet("run", config, bench.arrived(lake, shape), lake)
