"""What Inlet aims at, beside what the recorded runs found: ratios, since only these survive a change of the machine."""

import dataclasses
import statistics
from typing import Callable

from compare import report
from copies import names

# One-shot copies of PostgreSQL into files, by other programs.
COPIES = [name for name in names.RATIOS["inlet-direct"] if name not in ("psql", "duckdb")]


@dataclasses.dataclass(frozen=True)
class Budget:
    """What is measured, in which record, how it is found there, and the bound that it must keep: at least, or at most."""

    title: str
    record: str
    of: Callable
    bound: float
    unit: str = "x"
    most: bool = False

    def line(self, records):
        found = self.of(records[self.record])
        if found is None:
            return f"| {self.title} | {self.bound:g} {self.unit} | | not recorded yet |"
        kept = found <= self.bound if self.most else found >= self.bound
        sign = "at most" if self.most else "at least"
        return f"| {self.title} | {sign} {self.bound:g} {self.unit} | {found:,.2f} {self.unit} | {'kept' if kept else '**missed**'} |"


def copied(shape, ours, *others, figure="rows_per_s"):
    """Inlet's figure divided by the largest of others; None where it is not in the record."""

    def of(page):
        tools = page["shapes"][shape]
        return tools[ours][figure] / max(tools[name][figure] for name in others if name in tools) if ours in tools else None

    return of


def peak(shape, tool):
    return lambda page: page["shapes"][shape][tool]["peak_mb"]


def of_path(look, path):
    """The median of a figure over the repetitions of a path."""
    return lambda results: statistics.median(look(run) for run in results["runs"] if run["path"] == path)


def between(look, ours, theirs):
    return lambda results: of_path(look, ours)(results) / of_path(look, theirs)(results)


def latency(place, rank):
    return report.at(f"steady/{place}/latency_ms/{rank}")


BUDGETS = [
    Budget("PostgreSQL -> lake, orders, against one `psql COPY`", "bench", copied("orders", "inlet-direct", "psql"), 1.05),
    Budget("the same against the best other program", "bench", copied("orders", "inlet-direct", *COPIES), 1.8),
    Budget("its peak memory", "bench", peak("orders", "inlet-direct"), 128, "MB", most=True),
    Budget("PostgreSQL -> lake, taxi trips, values/s against the best other program", "bench", copied("taxi", "inlet-direct", *COPIES), 1.5),
    Budget("PostgreSQL -> Kafka, json, against `psql COPY`", "bench", copied("orders", "inlet-producer", "psql"), 0.33),
    Budget("Kafka -> lake, json, against Kafka's consumer-perf tool", "bench", copied("orders", "inlet-consumer", "consumer-perf"), 0.8),
    Budget("PostgreSQL -> Kafka -> lake at once, json, against `psql COPY`", "bench", copied("orders", "inlet-both", "psql"), 0.25),
    Budget("PostgreSQL -> Kafka, arrow, against `psql COPY`", "bench", copied("orders", "inlet-producer-arrow", "psql"), 1.0),
    Budget("Kafka -> lake, arrow, against Kafka's consumer-perf tool", "bench", copied("orders", "inlet-consumer-arrow", "consumer-perf"), 2.0),
    Budget("PostgreSQL -> Kafka -> lake at once, arrow, against `psql COPY`", "bench", copied("orders", "inlet-both-arrow", "psql"), 0.6),
    Budget("COMMIT to the topic, p50, against tuned Debezium", "compare", between(latency("topic", "p50"), "inlet-kafka", "debezium-tuned"), 0.5, most=True),
    Budget("COMMIT to the topic, p99, against tuned Debezium", "compare", between(latency("topic", "p99"), "inlet-kafka", "debezium-tuned"), 0.5, most=True),
    Budget("COMMIT to the lake, p99", "compare", of_path(latency("lake", "p99"), "inlet-kafka"), 800, "ms", most=True),
    Budget("the same against the Spark pipeline", "compare", between(latency("lake", "p99"), "inlet-kafka", "spark"), 0.1, most=True),
    Budget("backlog of single-row transactions, to the topic, against Debezium", "compare", between(report.rate("backlog", "topic_s"), "inlet-kafka", "debezium"), 10),
    Budget("rows a CPU-second, against Debezium", "compare", between(report.each_cpu_second("rows"), "inlet-kafka", "debezium"), 10),
    Budget("rows a CPU-second, against the Spark pipeline", "compare", between(report.each_cpu_second("rows"), "inlet-kafka", "spark"), 20),
    Budget("CPU at rest, both services", "compare", of_path(report.share_of_a_core("path"), "inlet-kafka"), 1, "% of a core", most=True),
]


def table(bench, compare):
    records = {"bench": bench, "compare": compare}
    lines = ["| what | budget | here | |", "|---|---:|---:|---|"]
    return [*lines, *(budget.line(records) for budget in BUDGETS)]
