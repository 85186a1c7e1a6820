"""The commands of the IPO desk over a real book: listing, showing, deciding, setting, scoring, telling."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from adapters.database import Database
from adapters.ipos import Book
from cluster.instance import free_base
from cluster.main import app
from market.ipo.alerts import IssueEvent
from market.ipo.pages import PageKind
from market.ipo.specimens import Specimen, investorgain_board, ipowatch_board
from market.money import money
from market.sessions import DAY
from market.vendors.investorgain import InvestorGain
from market.vendors.ipowatch import IpoWatch
from pipelines import ipos
from tests.market.ipo.issues import AMBER, ISSUES, NOW

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A deployment of its own."""
    shipped = (ROOT / "cluster.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text(re.sub(r"base: \d+", f"base: {free_base()}", shipped))
    return tmp_path / "cluster.yaml"


def take(book: Book, *issues: Specimen, sure: bool = True) -> None:
    source = InvestorGain() if sure else IpoWatch()
    body = investorgain_board(issues) if sure else ipowatch_board(issues, NOW)
    ipos.take(book, ipos.read(source, PageKind.BOARD, body, NOW), body, NOW)


def test_the_desk_s_commands_work_on_its_book(config: Path) -> None:
    from cluster.databases import opened
    from cluster.settings import read

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["ipo", *words, "--config", str(config)])

    settings = read(config)
    with opened(settings) as url:
        empty = [run(word) for word in ("list", "review", "digest", "score")]
        line = Database(url)
        line.migrate()
        line.close()
        book = Book(url, settings.data / "ipo" / "pages")
        take(book, *ISSUES)
        take(book, AMBER.model_copy(update={"name": "Zinc Pumps"}), sure=False)
        listed = json.loads(run("list", "--all", "--json").stdout)
        lately = json.loads(run("list", "--json").stdout)
        amber = next(one["issue"]["id"] for one in listed if one["issue"]["name"] == AMBER.name)
        sme = run("list", "--segment", "sme")
        queue = run("review")
        undecided = run("review", "1", "--because", "other")
        decided = run("review", "1", "--new", "--because", "another company")
        wrong = run("override", amber, "--gmp", "ten", "--because", "a typo")
        without = run("override", amber, "--gmp", "10")
        given = run("override", amber, "--gmp", "10.50", "--because", "a typo on the board", "--pin")
        ipos.validate(book, time.time_ns() - DAY)
        shown, record = run("show", amber), json.loads(run("show", amber, "--json").stdout)
        cleared, again = run("override", amber, "--clear"), run("override", amber, "--clear")
        scored = json.loads(run("score", "--json").stdout)
        zinc = decided.stdout.split()[-1]
        silent, joined = run("join", zinc, "--into", amber), run("join", zinc, "--into", amber, "--because", "renamed")
        one = json.loads(run("show", zinc, "--json").stdout)
        unknown = run("show", "zinc")
        page = run("digest", "--html")
        book.close()

    assert [one.exit_code for one in empty] == [0] * 4
    assert "there is no such issue" in empty[0].stdout and "nothing waits" in empty[1].stdout
    assert len(listed) == 3 and len(lately) == 2 and {one["issue"]["state"] for one in lately} <= {"open", "closed"}
    assert AMBER.name not in sme.stdout and "Cobalt Looms" in sme.stdout
    assert "Zinc Pumps" in queue.stdout and undecided.exit_code == 2 and "--new" in undecided.stderr
    assert decided.exit_code == 0 and "row 1 is of zinc" in decided.stdout
    assert wrong.exit_code == 2 and "'ten'" in wrong.stderr
    assert without.exit_code == 2 and "reason" in without.stderr
    assert given.exit_code == 0 and cleared.exit_code == 0 and again.exit_code == 2
    assert record["override"][0]["gmp"] == money("10.50") and "a typo on the board" in shown.stdout
    assert record["issue"]["high"] == AMBER.high and "321.00" in shown.stdout
    assert len(scored["now"]) == 1 and scored["scored"]["waiting"] == 0
    assert silent.exit_code == 2 and "reason" in silent.stderr
    assert joined.exit_code == 0 and one["issue"]["id"] == amber and ["ipowatch", "Zinc Pumps"] in one["names"]
    assert unknown.exit_code == 2 and "'zinc'" in unknown.stderr
    assert page.stdout.startswith("<!doctype html>") and "Amber &amp; Sons Foundry" in page.stdout


class Site(BaseHTTPRequestHandler):
    """IPOWatch's board, of whatever issues the server holds."""

    def do_GET(self) -> None:
        body = ipowatch_board(self.server.issues, NOW)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Nothing."""


@pytest.fixture
def site() -> Iterator[ThreadingHTTPServer]:
    """On loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.issues = ISSUES  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_source_is_visited_believed_doubted_and_accepted(config: Path, site: ThreadingHTTPServer) -> None:
    from cluster.databases import opened
    from cluster.settings import read

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["ipo", *words, "--config", str(config)])

    asked = f"ipo: {{ sources: {{ ipowatch: {{ url: 'http://127.0.0.1:{site.server_port}', robots: false }} }} }}"
    config.write_text(re.sub(r"ipo: \{ demo.*", asked, config.read_text()))
    settings = read(config)
    with opened(settings):
        nothing, first = run("alarms"), run("refresh")
        again = json.loads(run("refresh", "--json").stdout)
        listed, of = json.loads(run("list", "--all", "--json").stdout), json.loads(run("sources", "--json").stdout)
        leap = [one.model_copy(update={"gmp": one.gmp and one.gmp * 9}) for one in ISSUES]
        site.issues = leap  # type: ignore[attr-defined]
        (settings.data / "ipo" / "visits" / "standings.json").unlink()
        doubted = json.loads(run("refresh", "--json").stdout)
        shown, record = run("alarms"), json.loads(run("alarms", "--json").stdout)
        short, wrong = run("accept", record[0]["digest"][:11]), run("accept", "0" * 64)
        accepted, after = run("accept", record[0]["digest"][:12]), run("alarms")

    assert nothing.exit_code == first.exit_code == 0 and "was believed" in nothing.stdout
    assert "ipowatch" in first.stdout and f"{len(ISSUES)} new issues" in first.stdout
    assert again["refresh"]["pages"] == 0 and again["round"]["told"] == 0
    assert len(listed) == len(ISSUES)
    assert [(one["source"], one["breaker"], one["robots"]) for one in of] == [("ipowatch", "closed", False)]
    assert doubted["refresh"]["alarms"] == 1 and len(record) == 1 and "ipowatch" in shown.stdout
    assert short.exit_code == wrong.exit_code == 2 and "bourse ipo alarms" in short.stderr
    assert accepted.exit_code == 0 and f"{len(ISSUES)} matched" in accepted.stdout
    assert "was believed" in after.stdout


def test_an_operator_says_what_is_a_spike(config: Path) -> None:
    from cluster.databases import opened
    from cluster.settings import read

    config.write_text(re.sub(r"ipo: \{ demo.*", "ipo: { demo: false, relative_spike: 0.08 }", config.read_text()))
    settings, today = read(config), date.today()
    issue = AMBER.model_copy(update={"opens": today + timedelta(2), "closes": today + timedelta(4), "lists": None})
    with opened(settings) as url:
        line = Database(url)
        line.migrate()
        line.close()
        book = Book(url, settings.data / "ipo" / "pages")
        for gmp in ("41.5", "46"):  # a tenth more, and 1.4 points of the issue price
            body, at = ipowatch_board([issue.model_copy(update={"gmp": money(gmp)})], None), time.time_ns()
            ipos.take(book, ipos.read(IpoWatch(), PageKind.BOARD, body, at), body, at)
            done = CliRunner().invoke(app, ["ipo", "validate", "--config", str(config)])
            assert done.exit_code == 0, done.stderr
        with book.looking() as run:
            events = [one.event for one in run.unsent()]
        book.close()

    assert events.count(IssueEvent.SPIKE) == 1


def test_where_no_source_is_named_nothing_is_visited(config: Path) -> None:
    config.write_text(re.sub(r"ipo: \{ demo.*", "ipo: { demo: false }", config.read_text()))

    done = CliRunner().invoke(app, ["ipo", "refresh", "--config", str(config)])

    assert done.exit_code == 0 and "nothing to visit" in done.stdout
