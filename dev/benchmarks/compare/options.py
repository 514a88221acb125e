"""Options as `make` takes them: `ROWS=1000 RECORD=1`."""

import sys


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
