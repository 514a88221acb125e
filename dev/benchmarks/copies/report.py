"""Tables of the one-shot copies, their ratios, and what became slower than the recorded ratios."""

from . import names

# Below this share of the recorded ratio a program of ours has become slower, beyond what machines differ by.
SHARE_MIN = 0.8


def ratios(best):
    """Inlet's rows a second divided by those of each peer in the same run: `shape: inlet's way / peer`."""
    found = {}
    for shape, tools in best.items():
        for ours, peers in names.RATIOS.items():
            for peer in peers:
                if ours in tools and peer in tools:
                    found[f"{shape}: {ours} / {peer}"] = round(tools[ours]["rows_per_s"] / tools[peer]["rows_per_s"], 3)
    return found


def fallen(now, recorded):
    """Ratios below 0.8 of the recorded ones, as (name, now, recorded)."""
    return [(name, now[name], before) for name, before in recorded.items() if name in now and now[name] < SHARE_MIN * before]


def comparison(found, recorded):
    lines = [f"Against the run recorded at commit {recorded['versions']['commit']} ({recorded['command']}):"]
    lines += [f"* {name} fell to {now:.2f}, from {before:.2f}" for name, now, before in found]
    return "\n".join(lines if found else [*lines, f"* every ratio is at least {SHARE_MIN} of the recorded one"])


def table(page, shape):
    lines = ["| program | rows/s | values/s | CPU | peak memory | numeric becomes | moment becomes |", "|---|---:|---:|---:|---:|---|---|"]
    for name, title in page["titles"].items():
        found = page["shapes"].get(shape, {}).get(name)
        if found:
            cells = [f"{found['rows_per_s'] / 1000:,.0f} k", f"{found['values_per_s'] / 1e6:,.1f} M"]
            cells += [f"{found['cpu_s']:.1f} s", f"{found['peak_mb']:,} MB"]
            lines.append("| " + " | ".join([title, *cells, found.get("money", "").lower(), found.get("moment", "").lower()]) + " |")
        elif f"{shape}/{name}" in page["failed"]:
            lines.append(f"| {title} | failed | | | | | |")
    return lines


def caption(page):
    machine, versions = page["machine"], page["versions"]
    return [
        f"Measured by `{page['command']}` at commit {versions['commit']}, {page['at'][:10]}: "
        f"the best of {page['rounds']} rounds in which the programs take turns.",
        f"{machine['cores']} cores ({machine['processor']}), PostgreSQL {versions['postgresql'].split()[0]} and Kafka on the same machine.",
    ]


def page(found):
    lines = ["# Copies", "", *caption(found)]
    for shape, rows in found["rows"].items():
        lines += ["", f"## {shape}, {rows:,} rows", "", *table(found, shape)]
    lines += ["", *(f"* **{name} failed**: {reason.splitlines()[-1] if reason else ''}" for name, reason in found["failed"].items())]
    return "\n".join(lines) + "\n"
