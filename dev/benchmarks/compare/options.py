"""Options as `make` takes them: `ROWS=1000 RECORD=1`; and what RECORD does."""

import json
import pathlib
import signal
import subprocess
import sys

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1]
RECORDS = BENCHMARKS / "results"


def read(defaults, text):
    """The defaults, changed by the words `NAME=VALUE` of the command line; whole numbers stay whole numbers."""
    found = dict(defaults)
    for word in sys.argv[1:]:
        name, sign, value = word.partition("=")
        if not sign or name not in defaults:
            known = "\n".join(f"  {name}={value}" for name, value in defaults.items())
            sys.exit(f"{text}\n\nOptions, with their defaults:\n{known}")
        try:
            found[name] = type(defaults[name])(value)
        except ValueError:
            sys.exit(f"{name} takes a whole number, not `{value}`")
    return found


def command(name, defaults, found):
    """The command that repeats this run."""
    changed = [f"{option}={found[option]}" for option in found if found[option] != defaults[option] and option not in ("RECORD", "OUT")]
    return " ".join([f"make {name}", *changed])


def end_in_order():
    """A signal ends the run as an error does: with the programs and servers stopped, and folders removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def record(name, results):
    """Keeps results in the repository, and writes their figures into the documents."""
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    subprocess.run([sys.executable, BENCHMARKS / "render.py"], check=True)
    print(f"Recorded in dev/benchmarks/results/{name}.json, and in the documents.")
