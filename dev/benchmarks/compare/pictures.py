"""The pictures: how latencies are distributed, throughput, and memory over time."""

import matplotlib

matplotlib.use("svg")
# Text stays text, and a picture of the same results has the same bytes.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "inlet", "font.size": 9, "figure.figsize": (8, 4.5)})

from matplotlib import pyplot  # noqa: E402

from . import report  # noqa: E402

COLORS = ["#9c6b00", "#d9a13b", "#7a3b8f", "#b886c9", "#0b6e99", "#14a085"]


def draw(results, folder):
    titles = {name: path["title"] for name, path in results["paths"].items()}
    colors = dict(zip(titles, COLORS))
    for place, where in (("topic", "a reader of the topic"), ("lake", "a readable row in the lake")):
        latency(results, titles, colors, place, where, folder / f"latency-{place}.svg")
    throughput(results, titles, colors, folder / "throughput.svg")
    memory(results, titles, colors, folder / "memory.svg")


def runs_of(results, name):
    return [run for run in results["runs"] if run["path"] == name]


def save(axes, path):
    axes.grid(alpha=0.3)
    axes.figure.tight_layout()
    axes.figure.savefig(path, metadata={"Date": None})
    pyplot.close(axes.figure)


def latency(results, titles, colors, place, where, path):
    axes = pyplot.figure().subplots()
    for name, title in titles.items():
        found = [(run["phases"].get("steady") or {}).get(place) for run in runs_of(results, name)]
        values = sorted(value for part in found if part for value in part["sample_ms"])
        if values:
            shares = [(index + 1) / len(values) * 100 for index in range(len(values))]
            axes.plot([max(value, 0.1) for value in values], shares, label=title, color=colors[name])
    axes.set(xscale="log", xlabel=f"milliseconds from COMMIT to {where}", ylabel="% of the rows", ylim=(0, 100))
    if axes.lines:
        axes.legend()
    save(axes, path)


def throughput(results, titles, colors, path):
    figures = [figure for figure in report.THROUGHPUT if "writer" not in figure.title]
    axes = pyplot.figure().subplots()
    height = 0.8 / len(titles)
    for place, (name, title) in enumerate(titles.items()):
        values = [[figure.of(run) or 0 for run in runs_of(results, name)] for figure in figures]
        bars = [sum(found) / len(found) / 1000 for found in values]
        axes.barh([line + place * height for line in range(len(figures))], bars, height, label=title, color=colors[name])
    axes.set_yticks([line + 0.4 for line in range(len(figures))], [figure.title.replace(", rows/s", "") for figure in figures])
    axes.invert_yaxis()
    axes.set(xlabel="thousand rows a second, mean of the repetitions")
    axes.legend()
    save(axes, path)


def memory(results, titles, colors, path):
    axes = pyplot.figure().subplots()
    for name, title in titles.items():
        samples = next((run["memory"] for run in runs_of(results, name) if run.get("memory")), [])
        if samples:
            axes.plot([at - samples[0][0] for at, _ in samples], [mb for _, mb in samples], label=title, color=colors[name])
    axes.set(xlabel="seconds of the first repetition: initial load, rest, steady load, late commits, bulk, stop, backlog", ylabel="MB resident")
    if axes.lines:
        axes.legend()
    save(axes, path)
