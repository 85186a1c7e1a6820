"""The commands about accounts, over a real Postgres."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from adapters.passwords import Passwords
from adapters.users import Users
from cluster.instance import free_base
from cluster.main import app
from market.access import Role, Tier

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"
Run = Callable[..., Result]


@pytest.fixture
def deployment(tmp_path: Path) -> tuple[Run, str]:
    """The command `bourse user` of a deployment of its own, and its database's address."""
    from cluster.databases import url
    from cluster.settings import read

    shipped = (ROOT / "cluster.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text(re.sub(r"base: \d+", f"base: {free_base()}", shipped))
    config = str(tmp_path / "cluster.yaml")

    def run(*words: str, given: str | None = None) -> Result:
        return CliRunner().invoke(app, ["user", *words, "--config", config], input=given)

    return run, url(read(config))


def test_accounts_are_made_changed_and_listed(deployment: tuple[Run, str], tmp_path: Path) -> None:
    from cluster.databases import opened
    from cluster.settings import read

    run, url = deployment
    with opened(read(tmp_path / "cluster.yaml")):
        first = run("add", "Root@example.com", "--role", "admin", "--password-stdin", given=f"{PASSWORD}\n")
        weak = run("add", "asha@example.com", "--password-stdin", given="short\n")
        bare = run("add", "asha@example.com")
        run("add", "asha@example.com", "--password-stdin", given=f"{PASSWORD}\n")
        twice = run("add", "asha@example.com", "--password-stdin", given=f"{PASSWORD}\n")
        changed = run("role", "asha@example.com", "premium")
        key = run("key", "asha@example.com", "--scope", "quotes", "--scope", "train", "--days", "30")
        last = run("disable", "root@example.com")
        other = run("password", "asha@example.com", "--password-stdin", given="another horse battery\n")
        off = run("disable", "asha@example.com")
        listed = json.loads(run("list", "--json").stdout)
        kept = run("retain")
        users = Users(url, None)
        known = users.known("asha@example.com")
        users.close()

    assert (first.exit_code, changed.exit_code, other.exit_code, off.exit_code) == (0, 0, 0, 0), first.output
    assert (weak.exit_code, bare.exit_code, twice.exit_code, last.exit_code) == (2, 2, 2, 2)
    assert (kept.exit_code, kept.output.split()) == (
        0, ["refresh", "tokens", "0,", "reset", "tokens", "0,", "sessions", "0,", "audit", "0", "removed"],
    )  # fmt: skip
    assert "--password-stdin" in bare.stderr and "last admin" in last.stderr
    assert re.fullmatch(r"bk_[0-9a-f]{16}_\S{43}\n", key.stdout)
    assert {one["email"]: (one["role"], one["tier"], one["disabled"]) for one in listed} == {
        "root@example.com": ("admin", "premium", False),
        "asha@example.com": ("premium", "premium", True),
    }
    assert known is not None and known.user.role is Role.PREMIUM
    assert Passwords().fits("another horse battery", known.password)


def test_an_account_takes_a_tier_that_the_file_or_an_admin_has_made(
    deployment: tuple[Run, str], tmp_path: Path
) -> None:
    from cluster.databases import opened
    from cluster.settings import read

    run, url = deployment
    file = tmp_path / "cluster.yaml"
    figures = {"requests_per_second": 500, "burst": 1000, "connections": 200, "symbols": 5000}
    file.write_text(file.read_text().replace("    tiers:\n", f"    tiers:\n      gold: {json.dumps(figures)}\n"))
    with opened(read(file)):
        run("add", "asha@example.com", "--password-stdin", given=f"{PASSWORD}\n")
        users = Users(url, None)
        users.set_tier("silver", Tier.model_validate(figures), "test")
        users.close()
        done = [run("role", "asha@example.com", "admin", "--tier", name) for name in ("gold", "silver", "nobody")]

    assert [one.exit_code for one in done] == [0, 0, 2]
    assert "tier gold" in done[0].output and all(name in done[2].stderr for name in ("premium", "gold", "silver"))


def test_a_password_never_stands_on_the_command_line(deployment: tuple[Run, str]) -> None:
    run, _ = deployment

    assert run("add", "asha@example.com", "--password", PASSWORD).exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["retain", "--logins-days", "800000"],
        ["retain", "--acts-days", "36501"],
        ["key", "asha@example.com", "--scope", "quotes", "--days", "4000000"],
    ],
)
def test_more_days_than_a_century_are_refused_in_one_line(deployment: tuple[Run, str], words: list[str]) -> None:
    run, _ = deployment

    done = run(*words)

    assert done.exit_code == 2 and "36500" in done.stderr
