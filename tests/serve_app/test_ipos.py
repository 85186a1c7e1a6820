"""The IPO desk's paths over a real book: every filter, order and page against what the book holds, and what is refused.

The book is filled once and only read here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import msgpack
import pytest

from adapters.ipos import Book, Looking
from adapters.postgres_server import PostgresServer
from adapters.redis_server import RedisServer
from market.ipo.issues import Issue
from market.ipo.profit import Joined, Thresholds, measured, profitable
from market.ipo.validation import ValidatedGmp
from market.money import SCALE, money
from serve_app.ipo_asks import BoardQuery
from serve_app.ipo_replies import BoardAnswer
from tests.serve_app.desk import fill
from tests.serve_app.door import Guarded, guard

IPOS = "/api/v1/ipos"
TRACK = "/api/v1/ipo/track-record"
Stores = tuple[RedisServer, RedisServer]


@pytest.fixture(scope="module")
def book(database: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    """The book."""
    found = fill(database.url, tmp_path_factory.mktemp("desk") / "pages")
    yield found
    found.close()


@pytest.fixture(scope="module")
def door(
    stores: Stores, database: PostgresServer, book: Book, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """The gateway over it, in demo mode."""
    yield from guard(stores, database.url, tmp_path_factory.mktemp("house") / "lake", demo=True)


@pytest.fixture(scope="module")
def held(book: Book) -> dict[str, tuple[Issue, ValidatedGmp | None]]:
    """What the book holds: each issue and what is believed of it."""
    with book.looking() as run:
        believed = run.believed()
        return {one.id: (one, believed.get(one.id)) for one in run.every()}


def asked(door: Guarded, path: str = IPOS, **query: object) -> dict[str, Any]:
    answer = door.client.get(path, params={name: str(value) for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ids(door: Guarded, **query: object) -> list[str]:
    return [one["id"] for one in asked(door, **{"limit": 200, **query})["issues"]]


def gmp(believed: ValidatedGmp | None) -> float | None:
    return None if believed is None or believed.gmp is None else believed.gmp / SCALE


Keeps = Callable[[Issue, ValidatedGmp | None], object]
FILTERS: list[tuple[dict[str, str], Keeps]] = [
    ({"status": "open"}, lambda one, _: one.state == "open"),
    ({"status": "open,closed , allotted"}, lambda one, _: one.state in ("open", "closed", "allotted")),
    ({"segment": "sme"}, lambda one, _: one.segment == "sme"),
    ({"exchange": "nse"}, lambda one, _: one.exchange == "NSE"),
    ({"opens_from": "2024-12-17"}, lambda one, _: one.opens and one.opens.isoformat() >= "2024-12-17"),
    ({"opens_to": "2024-12-17"}, lambda one, _: one.opens and one.opens.isoformat() <= "2024-12-17"),
    ({"closes_from": "2024-12-13", "closes_to": "2024-12-20"},
     lambda one, _: one.closes and "2024-12-13" <= one.closes.isoformat() <= "2024-12-20"),
    ({"lists_from": "2024-12-24", "lists_to": "2024-12-24"},
     lambda one, _: one.lists and one.lists.isoformat() == "2024-12-24"),
    ({"profitable": "true"}, lambda one, b: gmp(b) is not None and profitable(b.gmp, one.high, Thresholds()) is True),
    ({"profitable": "false"}, lambda one, b: gmp(b) is not None and profitable(b.gmp, one.high, Thresholds()) is False),
    ({"profitable": "unknown"}, lambda one, b: gmp(b) is None),
    ({"profitable": "false,unknown"}, lambda one, b: not b or not profitable(b.gmp, one.high, Thresholds())),
    ({"profitable": "true", "points": "50", "amount": "100", "joined": "and"},
     lambda one, b: b and profitable(b.gmp, one.high, Thresholds(points=50, amount=money(100), joined=Joined.AND))),
    ({"min_confidence": "0.6"}, lambda one, b: gmp(b) is not None and b.confidence >= 0.6),
    ({"min_gmp": "-19", "max_gmp": "27"}, lambda one, b: gmp(b) is not None and -19 <= gmp(b) <= 27),
    ({"text": "HÁMMOCK  nonsense"}, lambda one, _: "hammock nonsense" in one.name.lower()),
    ({"text": "trampoline", "status": "announced"},
     lambda one, _: "Trampoline" in one.name and one.state == "announced"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "keeps"), FILTERS, ids=[str(query) for query, _ in FILTERS])
def test_a_filter_keeps_those_that_the_book_says(
    door: Guarded, held: dict[str, tuple[Issue, ValidatedGmp | None]], query: dict[str, str], keeps: Keeps
) -> None:
    expected = {name for name, (one, believed) in held.items() if keeps(one, believed)}

    found = asked(door, limit=200, **query)

    assert {one["id"] for one in found["issues"]} == expected
    assert found["total"] == len(expected) and 0 < len(expected) < len(held)


KEYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "opens": lambda one: one["opens"],
    "closes": lambda one: one["closes"],
    "lists": lambda one: one["lists"],
    "gmp": lambda one: one["gmp"],
    "points": lambda one: one["points"],
    "confidence": lambda one: one["confidence"],
    "predicted": lambda one: one["expected"] and one["expected"]["points"],
    "name": lambda one: one["name"].lower(),
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("way", ["", "-"])
def test_an_order_puts_the_unknown_last_and_pages_are_parts_of_it(door: Guarded, name: str, way: str) -> None:
    whole = asked(door, sort=f"{way}{name}", limit=200)
    keys = [KEYS[name](one) for one in whole["issues"]]
    known = [key for key in keys if key is not None]

    pages: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while cursor is not None and len(pages) < 100:
        page = asked(door, sort=f"{way}{name}", limit=7, **cursor)
        assert page["total"] == whole["total"]
        pages += page["issues"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}

    assert known == sorted(known, reverse=bool(way)) and keys[len(known) :] == [None] * (len(keys) - len(known))
    assert pages == whole["issues"]


def test_a_row_says_what_is_believed_expected_and_asked_for_it(door: Guarded, book: Book) -> None:
    with book.looking() as run:
        issue = next(one for one in run.every() if one.state == "open" and one.segment == "mainboard")
        believed, said = run.believed()[issue.id], [one for one in run.newest() if one.issue == issue.id and one.served]
        total = max(one.times for one in run.bids(issue.id) if one.category == "total" and one.times is not None)
        precision = measured(run.came(), Thresholds())
    open_said = next(one for one in said if one.task == "open")

    found = asked(door, text=issue.name, status="open")
    (row,) = found["issues"]

    assert (row["low"], row["high"], row["lot"]) == (None if issue.low is None else issue.low / SCALE,
                                                    issue.high and issue.high / SCALE, issue.lot)  # fmt: skip
    assert (row["gmp"], row["points"]) == (gmp(believed), round(believed.points or 0, 4))
    assert row["confidence"] == round(believed.confidence, 4)
    assert row["profitable"] is profitable(believed.gmp, issue.high, Thresholds())
    assert (row["expected"]["task"], row["expected"]["model"]) == ("open", open_said.model)
    assert row["expected"]["points"] == round(open_said.predicted_points, 4)
    assert row["subscription"]["times"] == total
    assert found["precision"] == precision.model_dump(mode="json") and precision.flagged > 0
    assert found["thresholds"] == {"points": 10.0, "amount": 20.0, "joined": "or", "own": False}


def test_thresholds_named_in_a_request_are_those_its_precision_is_of(door: Guarded, book: Book) -> None:
    with book.looking() as run:
        precision = measured(run.came(), Thresholds(points=40, amount=money("20")))

    found = asked(door, points=40)

    assert found["precision"] == precision.model_dump(mode="json")
    assert found["thresholds"] == {"points": 40.0, "amount": 20.0, "joined": "or", "own": False}


BAD: list[tuple[dict[str, str], str]] = [
    ({"stauts": "open"}, "parameter"),
    ({"status": "opened"}, "status"),
    ({"status": ","}, "status"),
    ({"segment": "emerge"}, "segment"),
    ({"exchange": "MCX"}, "exchange"),
    ({"opens_from": "2024-13-01"}, "opens_from"),
    ({"lists_from": "2025-01-02", "lists_to": "2025-01-01"}, "lists_to"),
    ({"profitable": "maybe"}, "profitable"),
    ({"points": "nan"}, "points"),
    ({"points": "-1"}, "points"),
    ({"amount": "1e99"}, "amount"),
    ({"amount": "0.00001"}, "amount"),
    ({"joined": "xor"}, "joined"),
    ({"min_confidence": "1.5"}, "min_confidence"),
    ({"min_gmp": "inf"}, "min_gmp"),
    ({"text": "!!!"}, "text"),
    ({"text": "x" * 101}, "text"),
    ({"text": "a\x00b"}, "text"),
    ({"sort": "size"}, "sort"),
    ({"sort": "--gmp"}, "sort"),
    ({"limit": "0"}, "limit"),
    ({"limit": "201"}, "limit"),
    ({"cursor": "nonsense"}, "cursor"),
    ({"cursor": "WyJuYW1lIiwgMSwgMV0"}, "cursor"),
    ({"cursor": "\u0661"}, "cursor"),
]


@pytest.mark.parametrize(("query", "name"), BAD)
def test_what_is_not_allowed_is_refused_by_its_name(door: Guarded, query: dict[str, str], name: str) -> None:
    answer = door.client.get(IPOS, params=query)

    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert name in answer.json()["detail"]


def test_a_parameter_that_is_there_twice_is_refused(door: Guarded) -> None:
    answer = door.client.get(f"{IPOS}?status=open&status=closed")

    assert answer.status_code == 422 and "status" in answer.json()["detail"]


def test_an_issue_is_found_by_its_symbol_and_by_no_year_of_its_id(door: Guarded, book: Book) -> None:
    with book.looking() as run:
        named = {one.symbol: one.id for one in run.every() if one.symbol}
    symbol = min(named)

    assert ids(door, text=symbol.lower()[:-1]) == [named[symbol]]
    assert ids(door, text="2024") == []


def test_a_cursor_is_of_its_own_order(door: Guarded) -> None:
    cursor = asked(door, sort="gmp", limit=1)["next"]

    assert door.client.get(IPOS, params={"sort": "-gmp", "cursor": cursor}).status_code == 422


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE ipo_issues; --", "%", "_", "a' OR 'a'='a", "\\x27 or 1=1", "{{7*7}}", "<script>"]
)
def test_text_is_no_statement_and_no_pattern(door: Guarded, text: str) -> None:
    answer = door.client.get(IPOS, params={"text": text})

    assert answer.status_code == 422 or answer.json()["total"] == 0
    assert asked(door)["total"] > 40


@pytest.fixture(scope="module")
def one(book: Book) -> str:
    """An issue that was predicted, has listed, and was told of by both sources."""
    with book.looking() as run:
        predicted = {one.issue for one in run.predictions()}
        return next(one.issue for one in run.outcomes() if one.issue in predicted)


def look(book: Book, work: Callable[[Looking], Any]) -> Any:
    with book.looking() as run:
        return work(run)


def test_an_issue_tells_who_told_each_fact_and_each_premium(door: Guarded, book: Book, one: str) -> None:
    issue, believed = look(book, lambda run: (run.issue(one), run.believed()[one]))

    found = asked(door, f"{IPOS}/{one}")
    facts = {fact["fact"]: fact for fact in found["facts"]}

    assert facts["high"]["value"] == issue.high / SCALE and facts["lists"]["value"] == issue.lists.isoformat()
    assert {name: (fact["source"], fact["page"]) for name, fact in facts.items()} == {
        name: (origin.source, origin.page) for name, origin in issue.origins.items()
    }
    assert {n["source"] for n in found["names"]} == {"investorgain", "ipowatch"}
    used = {u["source"]: (u["gmp"], u["weight"]) for u in found["believed"]["used"]}
    assert used == {u.reading.source: (u.reading.gmp / SCALE, round(u.weight, 4)) for u in believed.used}
    assert sum(weight for _, weight in used.values()) == pytest.approx(1.0, abs=1e-3)
    refused = [(r["source"], r["why"]) for r in found["believed"]["refused"]]
    assert refused == [(r.reading.source, r.why) for r in believed.refused]


def test_an_issue_tells_its_bids_its_predictions_why_and_what_came(door: Guarded, book: Book, one: str) -> None:
    bids, said, issue = look(book, lambda run: (run.bids(one), run.predictions(one), run.issue(one)))

    found = asked(door, f"{IPOS}/{one}")

    days = {(b["day"], b["source"], name): d["times"] for b in found["subscription"] for name, d in
            b["categories"].items()}  # fmt: skip
    assert days == {(b.day.isoformat(), b.source, b.category): b.times for b in bids} and days
    told = {(p["task"], s["model"]): s["points"] for p in found["predictions"] for s in p["said"]}
    assert told == {(s.task.value, s.model): round(s.predicted_points, 4) for s in said}
    for task in found["predictions"]:
        assert task["served"]["model"] == task["gate"]["served"]
        assert str(task["gate"]["n"]) in task["why"]
    assert found["outcome"]["open_points"] == round(issue.open_points, 4)
    assert found["override"] is None and found["hints"] == []


def test_the_premium_over_time_is_what_was_believed_and_what_each_source_told(
    door: Guarded, book: Book, one: str
) -> None:
    believed, told = look(book, lambda run: (run.validations(one), run.premiums(one)))

    found = asked(door, f"{IPOS}/{one}/gmp")

    assert [p["gmp"] for p in found["believed"]] == [gmp(v) for v in believed] and not found["truncated"]
    for source in ("investorgain", "ipowatch"):
        mine = [(p["gmp"], p["page"]) for p in found["sources"][source]]
        assert mine == [(p.gmp and p.gmp / SCALE, p.page) for p in told if p.source == source]
    changes = [p["gmp"] for p in asked(door, f"{IPOS}/{one}")["history"]]
    assert all(a != b for a, b in pairwise(changes))
    assert set(changes) == {p["gmp"] for p in found["believed"]}


def test_a_series_is_cut_by_time_source_and_count(door: Guarded, one: str) -> None:
    whole = asked(door, f"{IPOS}/{one}/gmp")
    middle = whole["believed"][1]["at"]

    later = asked(door, f"{IPOS}/{one}/gmp", **{"from": middle})
    earlier = asked(door, f"{IPOS}/{one}/gmp", to=middle)
    short = asked(door, f"{IPOS}/{one}/gmp", limit=1, source="ipowatch")

    assert later["believed"] == whole["believed"][1:] and later["from"] == middle
    assert earlier["believed"] == whole["believed"][:1]
    assert short["believed"] == whole["believed"][-1:] and short["truncated"]
    assert list(short["sources"]) == ["ipowatch"] and len(short["sources"]["ipowatch"]) == 1


@pytest.mark.parametrize(
    ("query", "name"),
    [({"from": "yesterday"}, "from"), ({"from": "2025-01-02", "to": "2025-01-01"}, "to"), ({"limit": "9999"}, "limit"),
     ({"source": "a\x00"}, "source"), ({"until": "2025-01-01"}, "parameter")],
)  # fmt: skip
def test_a_series_refuses_what_is_not_allowed(door: Guarded, one: str, query: dict[str, str], name: str) -> None:
    answer = door.client.get(f"{IPOS}/{one}/gmp", params=query)

    assert answer.status_code == 422 and name in answer.json()["detail"]


@pytest.mark.parametrize(
    "path", [f"{IPOS}/nobody", f"{IPOS}/nobody/gmp", f"{IPOS}/' OR 1=1", "/api/v1/ipo/pages/" + "0" * 64]
)
def test_what_nobody_knows_is_404(door: Guarded, path: str) -> None:
    answer = door.client.get(path)

    assert answer.status_code == 404
    assert answer.json()["type"] in ("urn:bourse:problem:unknown-issue", "urn:bourse:problem:unknown-page")


def test_a_number_leads_to_the_page_it_stood_on(door: Guarded, one: str) -> None:
    (told, *_) = asked(door, f"{IPOS}/{one}/gmp")["sources"]["ipowatch"]

    (page,) = asked(door, f"/api/v1/ipo/pages/{told['page']}")["pages"]

    assert (page["source"], page["kind"], page["url"]) == ("ipowatch", "board", "https://ipowatch.example/board")
    assert page["size"] > 1000 and page["premiums"] > 5 and page["trouble"] == ""
    assert door.client.get("/api/v1/ipo/pages/abc").status_code == 422


def test_the_track_record_is_the_ledger_s(door: Guarded, book: Book) -> None:
    from pipelines.ipos import track

    expected = track(book)

    found = asked(door, TRACK)

    assert found["accounts"] == [one.model_dump(mode="json") for one in expected.accounts] and found["accounts"]
    assert found["league"]["all"] == [one.model_dump(mode="json") for one in expected.league] and found["league"]["sme"]
    told = {(p["issue"], p["task"], p["model"]): p["came_points"] for p in found["predictions"]}
    assert told == {
        (o.predicted.issue, o.predicted.task.value, o.predicted.model): round(o.came_points, 4)
        for o in expected.scored.outcomes
    }
    counts = {name: getattr(expected.scored, name) for name in ("replaced", "late", "waiting")}
    assert {name: found[name] for name in counts} == counts


def test_the_track_record_is_cut_by_task_segment_and_day(door: Guarded) -> None:
    whole = asked(door, TRACK)["predictions"]

    tasks = asked(door, TRACK, task="close_of_issue")
    small = asked(door, TRACK, segment="sme")
    since = asked(door, TRACK, since="2025-01-02")

    assert {p["task"] for p in tasks["predictions"]} == {"close_of_issue"} == {a["task"] for a in tasks["accounts"]}
    assert small["predictions"] == [p for p in whole if p["segment"] == "sme"] != []
    assert list(small["league"]) == ["all", "sme"] and small["league"]["all"] == small["league"]["sme"]
    assert since["predictions"] == [] and since["league"]["all"] == []


@pytest.mark.parametrize("table", ["predictions", "accounts", "league"])
def test_the_track_record_can_be_saved_as_a_table(door: Guarded, table: str) -> None:
    whole = asked(door, TRACK)
    rows = whole[table] if table != "league" else [one for each in whole["league"].values() for one in each]

    answer = door.client.get(TRACK, params={"format": "csv", "table": table})
    read = list(csv.DictReader(io.StringIO(answer.text)))

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="ipo-track-record.csv"'
    assert len(read) == len(rows) and {str(one.get("model", one.get("source"))) for one in rows} == {
        one.get("model", one.get("source")) for one in read
    }
    assert door.client.get(TRACK, params={"format": "json"}).headers["Content-Disposition"].endswith('.json"')


def test_answers_come_as_messagepack_with_a_tag_and_their_age(door: Guarded, one: str) -> None:
    path = f"{IPOS}/{one}"

    plain = door.client.get(path)
    packed = door.client.get(path, headers={"Accept": "application/msgpack"})
    again = door.client.get(path, headers={"If-None-Match": plain.headers["ETag"]})

    assert msgpack.unpackb(packed.content) == plain.json()
    assert (again.status_code, again.content) == (304, b"")
    assert int(plain.headers["Age"]) >= 0 and "X-Bourse-Stale" not in plain.headers
    assert plain.headers["Cache-Control"] == "private, no-cache"
    assert door.client.get(path, headers={"Accept": "text/html"}).status_code == 406


def test_the_description_shows_a_true_example_the_units_and_what_may_be_asked(door: Guarded) -> None:
    path = door.client.get("/openapi.json").json()["paths"][IPOS]["get"]

    told = path["responses"]["200"]["content"]["application/json"]
    asked_for = {one["name"]: one for one in path["parameters"]}

    assert BoardAnswer.model_validate(told["example"]).issues[0].gmp == 41.5
    assert told["schema"] == {"$ref": "#/components/schemas/BoardAnswer"}
    assert asked_for.keys() == BoardQuery.model_fields.keys()
    assert "Rupees a share" in asked_for["min_gmp"]["description"]
    assert path["responses"].keys() >= {"200", "304", "406", "503", "default"}
