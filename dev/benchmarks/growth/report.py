"""The sections as Markdown."""


def caption(found):
    machine, versions = found["machine"], found["versions"]
    return [
        f"Measured by `{found['command']}` at commit {versions['commit']}, {found['at'][:10]}.",
        f"{machine['cores']} cores ({machine['processor']}), PostgreSQL {versions['postgresql'].split()[0]}, Kafka and Inlet together on them.",
    ]


def section(found):
    lines = [f"### {found['title']}", "", found["note"], "", "| " + " | ".join(found["headers"]) + " |", "|" + "---:|" * len(found["headers"])]
    return [*lines, *("| " + " | ".join(row) + " |" for row in found["rows"])]


def lines(found):
    text = caption(found)
    for part in found["sections"]:
        text += ["", *section(part)]
    return text + [f"* **{name} failed**: {reason}" for name, reason in found["failed"].items()]
