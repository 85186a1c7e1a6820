"""`python -m benchmarks`: lists the race card. `python -m benchmarks w2 [w1 ...] [--json]`: runs of it."""

from __future__ import annotations

import argparse
import ast
from importlib import import_module
from pathlib import Path

from benchmarks.report import Report


def card() -> dict[str, str]:
    """The benchmarks by name, with the first line of their docstring; none is imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.stem[0] != "_" and any(isinstance(n, ast.FunctionDef) and n.name == "run" for n in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main() -> None:
    """Run what the command line names, or list what there is."""
    known = card()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="The race card: peers and us on the same data."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)}; none lists them")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in known]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]}; there are {', '.join(known)}")
    if not asked.names:
        for name, told in known.items():
            print(f"{name:<9} {told}")
    for name in asked.names:
        import_module(f"benchmarks.{name}").run(Report(name.upper(), asked.json))


if __name__ == "__main__":
    main()
