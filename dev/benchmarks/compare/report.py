"""From the results of the runs to tables; the documents' tables come from here too (`render.py`)."""

import dataclasses
import statistics
from typing import Callable


# What other programs may use of a machine that counts as quiet.
QUIET_SHARE_MAX = 0.05
REASON_CHARACTERS_MAX = 400


@dataclasses.dataclass(frozen=True)
class Figure:
    """A line of the report: what it is called, where a run has it, and how it is written."""

    title: str
    of: Callable
    form: str = "{:,.0f}"


def at(path):
    """The value at `a.b.c` of a run's phases; None where a step is missing."""

    def look(run):
        value = run["phases"]
        for step in path.split("/"):
            value = (value or {}).get(step)
        return value

    return look


def rate(phase, seconds):
    """Rows a second of a phase."""
    return lambda run: ratio(at(f"{phase}/rows")(run), at(f"{phase}/{seconds}")(run))


def each_cpu_second(amount, scale=1):
    return lambda run: ratio(at(f"initial/{amount}")(run), at("initial/path_cpu_s")(run), scale)


def ratio(amount, divisor, scale=1):
    return None if amount is None or not divisor else amount / divisor / scale


def share_of_a_core(group):
    return lambda run: ratio(at(f"idle/{group}_cpu_s")(run), at("idle/seconds")(run), 0.01)


def lost(place):
    """Rows that never arrived, of all that were committed in the steady and in the late phase."""

    def count(run):
        found = [at(f"{phase}/{place}/lost")(run) for phase in ("steady", "late")]
        return None if None in found else sum(found)

    return count


def wrong(run):
    found = at("equal")(run)
    return found and found["missing"] + found["unknown"] + found["differing"]


LATENCY = [
    Figure(f"COMMIT to {where}, {rank}, ms", at(f"steady/{place}/latency_ms/{rank}"))
    for place, where in (("topic", "a reader of the topic"), ("lake", "a readable row in the lake"))
    for rank in ("p50", "p99", "p99.9", "max")
]
THROUGHPUT = [
    Figure("initial load to the topic, with the start, rows/s", rate("initial", "topic_s")),
    Figure("initial load to the lake, with the start, rows/s", rate("initial", "lake_s")),
    Figure("while one connection writes in bulk, to the topic, rows/s", rate("bulk", "topic_s")),
    Figure("while one connection writes in bulk, to the lake, rows/s", rate("bulk", "lake_s")),
    Figure("the writer itself, rows/s", rate("bulk", "written_s")),
    Figure("backlog of single-row transactions to the topic, with the start, rows/s", rate("backlog", "topic_s")),
    Figure("backlog of single-row transactions to the lake, with the start, rows/s", rate("backlog", "lake_s")),
]
COST = [
    Figure("rows a CPU-second of the path", each_cpu_second("rows")),
    Figure("values a CPU-second of the path", each_cpu_second("values")),
    Figure("MB of table a CPU-second of the path", each_cpu_second("bytes", 1e6), "{:,.1f}"),
    Figure("CPU of the path for the initial load, s", at("initial/path_cpu_s"), "{:,.1f}"),
    Figure("CPU of PostgreSQL for it, s", at("initial/postgres_cpu_s"), "{:,.1f}"),
    Figure("CPU of Kafka for it, s", at("initial/kafka_cpu_s"), "{:,.1f}"),
    Figure("CPU of the path under the steady load, s", at("steady/path_cpu_s"), "{:,.1f}"),
    Figure("peak memory, initial load, MB", at("initial/peak_mb")),
    Figure("peak memory, backlog, MB", at("backlog/peak_mb")),
    Figure("memory at rest, MB", at("idle/mb")),
    Figure("CPU at rest, % of a core", share_of_a_core("path"), "{:,.1f}"),
    Figure("CPU of PostgreSQL at rest, % of a core", share_of_a_core("postgres"), "{:,.1f}"),
    Figure("processes", at("idle/processes")),
    Figure("start to the first row in the topic, s", at("initial/topic_first_s"), "{:,.1f}"),
    Figure("start to the first row in the lake, s", at("initial/lake_first_s"), "{:,.1f}"),
]
CORRECT = [
    Figure("rows lost on the way to the topic", lost("topic")),
    Figure("rows lost on the way to the lake", lost("lake")),
    Figure("of these, of transactions that committed late", at("late/lake/lost_of_late")),
    Figure("transactions that committed late", at("late/committed_late")),
    Figure("states that a later update replaced", at("steady/overwritten")),
    Figure("of these, seen in the topic", at("steady/topic/overwritten_seen")),
    Figure("rows missing, unknown or different in the lake", wrong),
    Figure("rows in the lake more than once", at("equal/duplicates")),
    Figure("WAL held back after a stop and the backlog, MB", lambda run: ratio(at("backlog/wal_held_bytes")(run), 1e6), "{:,.0f}"),
]
DELAY = [Figure("the load generator's own delay, p99, ms", at("steady/start_delay_ms/p99"), "{:,.1f}")]
SHORT = [
    LATENCY[0], LATENCY[1], LATENCY[4], LATENCY[5], THROUGHPUT[0], THROUGHPUT[1], THROUGHPUT[5], COST[0], COST[7], COST[9],
    COST[14], CORRECT[1], CORRECT[8],
]
SECTIONS = [
    ("Latency", LATENCY + DELAY),
    ("Throughput", THROUGHPUT),
    ("What it costs", COST),
    ("What arrives", CORRECT),
]


def summaries(results, kinds):
    """What the report has to know of each path, beside the figures."""
    return {
        kind.name: {"title": kind.title, "settings": kind.settings, "steps": list(kind.steps)}
        for kind in kinds
    }


def cell(figure, runs):
    """The median of the repetitions, and in brackets how far they spread where there are several."""
    values = [value for value in map(figure.of, runs) if value is not None]
    if not values:
        return "failed" if any("failed" in run for run in runs) else "–"
    middle = figure.form.format(statistics.median(values))
    ends = [figure.form.format(end) for end in (min(values), max(values))]
    return middle if ends[0] == ends[1] else f"{middle} ({ends[0]} to {ends[1]})"


def table(results, figures):
    """Markdown: a line for each figure, a column for each path."""
    paths = results["paths"]
    lines = ["| | " + " | ".join(path["title"] for path in paths.values()) + " |", "|---|" + "---:|" * len(paths)]
    for figure in figures:
        cells = [cell(figure, [run for run in results["runs"] if run["path"] == name]) for name in paths]
        # A line without any value has no place in a short table.
        if set(cells) - {"–"}:
            lines.append(f"| {figure.title} | " + " | ".join(cells) + " |")
    if figures is not SHORT:
        return lines
    return [*lines, "| steps for the user | " + " | ".join(str(len(path["steps"])) for path in paths.values()) + " |"]


def caption(results):
    """One line each: how the figures were made, and what limits them."""
    machine, versions, sizes = (results[name] for name in ("machine", "versions", "sizes"))
    lines = [
        f"Measured by `{results['command']}` at commit {versions['commit']}, {results['at'][:10]}.",
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gb']:.0f} GB, Linux {machine['kernel'].split('-')[0]}, "
        f"PostgreSQL {versions['postgresql'].split()[0]}, {versions['kafka']}, {versions['debezium']}, PySpark {versions['spark'].split('-')[-1]}; "
        "servers, paths and load share the machine.",
        f"{repetitions(sizes['REPETITIONS'])}; "
        f"{sizes['ROWS']:,} rows, {sizes['RATE']:,} transactions/s, of which {sizes['SECONDS']} s count after {sizes['WARM_UP']} s of warm-up, "
        f"and a backlog of {sizes['BACKLOG']:,} transactions.",
    ]
    if (results["others_cpu_share"] or 0) > QUIET_SHARE_MAX:
        lines.append(f"**The machine was not quiet**: other programs used {results['others_cpu_share']:.0%} of it, so only the counts are firm.")
    return lines


def repetitions(number):
    return "One repetition" if number == 1 else f"{number} repetitions, in rotated order: the median, and the spread in brackets"


def failures(results):
    return [
        f"{results['paths'][run['path']]['title']}, repetition {run['repetition']}, failed in phase `{run['failed']['phase']}`: "
        f"{' '.join(run['failed']['reason'].split())[:REASON_CHARACTERS_MAX]}"
        for run in results["runs"]
        if "failed" in run
    ]


def page(results):
    """The whole report."""
    lines = ["# Comparison", "", *caption(results), ""]
    for problem in failures(results):
        lines.append(f"* **{problem}**")
    for title, figures in SECTIONS:
        lines += ["", f"## {title}", "", *table(results, figures)]
    lines += ["", "## Settings and steps", ""]
    return "\n".join([*lines, *settings(results)]) + "\n"


def settings(results):
    """How each path was set up, and what a user does for it."""
    lines = []
    for path in results["paths"].values():
        lines += [f"* **{path['title']}**: {path['settings']}.", f"  {len(path['steps'])} steps: {'; '.join(path['steps'])}."]
    return lines


def short(results):
    """The results without the samples of single rows and moments, to be kept in the repository."""
    runs = [{key: value for key, value in run.items() if key != "memory"} for run in results["runs"]]
    return results | {"runs": [without_samples(run) for run in runs]}


def without_samples(value):
    if isinstance(value, dict):
        return {key: without_samples(inner) for key, inner in value.items() if key != "sample_ms"}
    return value
