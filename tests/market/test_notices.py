"""Notices: circulars as files; one wrong row and nothing is taken."""

from __future__ import annotations

import json
from datetime import date, time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import BadValue
from market.notices import EARLIEST, FIELDS, LATEST, MOST_ROWS, Notice, hours, merged, read, text
from market.sessions import ZONES, Kind

HEAD = ",".join(FIELDS)


def test_a_csv_circular_is_read_whatever_its_byte_order_mark_and_capitals() -> None:
    told = read("c.csv", f"\ufeff{HEAD}\r\nnse,2026-11-08,Muhurat,13:45-14:45,NSE/CMTR/2\nNSE,2026-11-09,holiday,,X\n")

    assert [(n.date.day, n.kind, n.hours, n.source) for n in told] == [
        (8, Kind.MUHURAT, ((time(13, 45), time(14, 45)),), "NSE/CMTR/2"),
        (9, "holiday", (), "X"),
    ]


def test_a_json_circular_may_leave_the_source_to_the_caller() -> None:
    rows = [{"exchange": "BSE", "date": "2026-02-01", "kind": "budget"}]

    assert read("c.json", json.dumps(rows), "BSE notice 1") == [
        Notice(exchange="BSE", date=date(2026, 2, 1), kind=Kind.BUDGET, source="BSE notice 1")
    ]


def test_a_source_over_two_lines_becomes_one() -> None:
    told = read(
        "c.csv", f'{HEAD}\nNSE,2026-11-09,holiday,,"NSE/CMTR/1\r\n of  9 November"\nNSE,2026-11-10,holiday,,', "a\nb"
    )

    assert [n.source for n in told] == ["NSE/CMTR/1 of 9 November", "a b"]


def test_nse_s_own_list_of_holidays_is_taken_for_shares(shared: Path) -> None:
    told = read("holidays.json", (shared / "fixtures/nse/holidays.json").read_text(), "NSE's site, read 2023-10-16")

    assert [(n.exchange, n.date, n.kind) for n in told] == [("NSE", date(2023, 1, 26), "listed")]
    assert told[0].source == "NSE's site, read 2023-10-16: Republic Day"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("LSE,2026-11-08,holiday,,X", "row 1, exchange: 'LSE'"),
        ("NSE,08-11-2026,holiday,,X", "row 1, date: '08-11-2026'"),
        ("NSE,2026-02-30,holiday,,X", "row 1, date"),
        ("NSE,1999-02-01,holiday,,X", "2000-01-01 to"),
        ("NSE,2026-11-08,party,,X", "row 1, kind: 'party'"),
        ("NSE,2026-11-08,holiday,09:15-15:30,X", "a holiday has no hours"),
        ("NSE,2026-11-08,muhurat,,X", "none are usual for muhurat"),
        ("NSE,2026-11-08,regular,9:15-15:30,X", "hours like"),
        ("NSE,2026-11-08,regular,09:15-24:30,X", "hours like"),
        ("NSE,2026-11-08,regular,15:30-09:15,X", "an open before its close"),
        ("NSE,2026-11-08,drill,09:15-10:00 09:45-12:00,X", "the first half before the second"),
        ("NSE,2026-11-08,drill,00:00-15:59,X", "from 00:15 to 20:00"),
        ("NSE,2026-11-08,drill,09:15-20:01,X", "from 00:15 to 20:00"),
        ("NSE,2026-11-08,holiday,,", "who says so"),
        ("NSE,2026-11-08,holiday,,\x1b[2J", "who says so"),
        ("NSE,2026-11-08,holiday,,X,more", "a text for each of exchange, date"),
        ("NSE,2026-11-08,holiday,,X\nNSE,2026-11-08,regular,,Y", "each day once; see row 1"),
    ],
)
def test_a_wrong_row_is_one_clear_error(row: str, said: str) -> None:
    with pytest.raises(BadValue, match=r"c\.csv") as refused:
        read("c.csv", f"{HEAD}\n{row}\n")

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "file",
    [
        "", "[]", "{}", "[1]", '[{"exchange": 7}]', "{", "[" * 100_000, "exchange,date\nNSE,2026-11-08", "\x00", '"',
        '{"FO": []}', '{"CM": 3}', '{"CM": [3]}', '{"CM": []}',
        '{"CM": [{"tradingDate": "26-Jan-2023", "weekDay": "Friday", "description": "x"}]}',
        '{"CM": [{"tradingDate": "2023-01-26", "weekDay": "Thursday", "description": "x"}]}',
    ],
)  # fmt: skip
def test_a_file_of_another_shape_is_refused(file: str) -> None:
    with pytest.raises(BadValue, match="circular"):
        read("circular", file, "a source")


def test_a_file_of_more_rows_than_any_calendar_has_is_refused() -> None:
    rows = [{"exchange": "NSE", "date": "2026-11-08", "kind": "holiday"}] * (MOST_ROWS + 1)

    with pytest.raises(BadValue, match=str(MOST_ROWS)):
        read("c.json", json.dumps(rows), "X")


def test_of_two_words_about_a_day_the_newer_counts() -> None:
    old = read("a", f"{HEAD}\nNSE,2026-11-08,holiday,,A\nNSE,2026-11-09,holiday,,A")
    new = read("b", f"{HEAD}\nNSE,2026-11-08,muhurat,13:45-14:45,B")

    assert [(n.date.day, n.source) for n in merged(old, new)] == [(8, "B"), (9, "A")]


clocks = st.lists(st.times(EARLIEST, LATEST), min_size=4, max_size=4, unique_by=lambda t: (t.hour, t.minute)).map(
    sorted
)
notices = st.builds(
    lambda exchange, day, kind, edges, source: Notice(
        exchange=exchange,
        date=day,
        kind=kind,
        hours=()
        if kind in ("holiday", "listed")
        else hours("", f"{edges[0]:%H:%M}-{edges[1]:%H:%M} {edges[2]:%H:%M}-{edges[3]:%H:%M}"),
        source=source,
    ),
    st.sampled_from(list(ZONES)),
    st.dates(date(2000, 1, 1), date(2035, 12, 31)),
    st.sampled_from(["holiday", "listed", *Kind]),
    clocks,
    st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=200),
)


@given(st.lists(notices, min_size=1, max_size=5, unique_by=lambda n: (n.exchange, n.date)))
def test_what_is_written_is_read_again(told: list[Notice]) -> None:
    assert read("notices.json", text(told)) == merged([], told)


@given(st.text())
def test_garbage_raises_bad_value_and_nothing_else(garbage: str) -> None:
    with pytest.raises(BadValue):
        read("garbage", garbage, "X")
