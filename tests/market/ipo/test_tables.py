"""Tables: rows under headings out of bodies from anywhere, whole or not."""

from __future__ import annotations

import json

import pytest

from market.errors import BadPayload, LayoutChanged
from market.ipo.tables import LARGEST, barred, document, grid, heading, parsed, shape


def page(content: str) -> bytes:
    return f"<!DOCTYPE html><html><head><title>A page</title></head><body>{content}</body></html>".encode()


def test_headings_lose_what_changes_about_them() -> None:
    names = [
        "IPO_Size▲▼",
        "IPO Size ▲",
        "Closing Price (LTP)▲▼",
        "GMP Range (L/H)",
        "Updated-On",
        "Total *",
        "~Str_Listing",
    ]

    assert [heading(name) for name in names] == [
        "ipo size", "ipo size", "closing price ltp", "gmp range l h", "updated on", "total", "~str listing",
    ]  # fmt: skip


def test_a_table_is_found_by_its_headings_wherever_it_stands() -> None:
    words = "<table><tr><td>What is GMP?</td><td>Nothing</td></tr></table>"
    board = (
        "<table id=b><tr><th>Price</th><th>Name</th></tr><tr><td>80</td><td><a>Cobalt</a><br>Looms</td></tr></table>"
    )

    found = document("s", page(words + board))
    under = [table.under({"name", "price"}) for table in found.tables]

    assert under[0] is None
    assert under[1] is not None
    assert (under[1].place, list(under[1].rows)) == ("table 1 #b", [["80", "Cobalt Looms"]])


def test_a_table_inside_a_cell_gives_no_row_to_the_one_around_it() -> None:
    inner = "<table><tr><td>x</td><td>y</td></tr></table>"

    found = document("s", page(f"<table><tr><td>Lot</td><td>{inner}</td></tr></table>")).tables

    assert [len(table.rows) for table in found] == [1, 1]


def test_a_cell_over_two_columns_keeps_the_others_in_theirs() -> None:
    (table,) = document("s", page("<table><tr><td colspan=2>Ad</td><td>3</td></tr></table>")).tables

    assert table.rows == [["Ad", "", "3"]]


def test_a_control_character_is_no_reason_to_fail() -> None:
    found = document("s", page("<table><tr><td>1<br>\x012</td><td>4</td></tr></table>"))

    assert found.tables[0].rows == [["1 \x012", "4"]]


def test_scripts_and_comments_are_no_words() -> None:
    found = document("s", page("<table><tr><td>1<!-- 2 --><script>3</script></td><td>4</td></tr></table>"))

    assert found.tables[0].rows == [["1", "4"]]
    assert "3" not in found.words


def test_the_numbers_of_json_are_kept_as_they_are_written() -> None:
    said = parsed("s", b'[{"times": 1.10, "lot": 46, "none": null, "nan": NaN}]')

    assert list(grid("s", b"", "rows", said).rows) == [["1.10", "46", "", "NaN"]]


def test_a_text_is_cut_where_new_headings_stand_or_the_bars_end() -> None:
    text = "# a comment\nDate | Total\nDay 1 | 2\nnothing\nDay 2 | 3\nName | Price\nA | 1\nDate | Total\nDay 3 | 4"

    found = barred("s", text.encode(), [{"date", "total"}, {"name", "price"}])

    assert [[row[0] for row in table.rows] for table in found] == [["Date", "Day 1"], ["Name", "A"], ["Date", "Day 3"]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b" \n\xef\xbb\xbf", "empty"),
        ("<html>₹</html>".encode("utf-16"), "not UTF-8"),
        ("<html>price £5</html>".encode("cp1252"), "not UTF-8"),
        (b"<html>\0</html>", "NUL"),
        (b"<" * (LARGEST + 1), "MiB"),
    ],
)
def test_a_body_that_is_no_page_is_a_bad_payload(body: bytes, said: str) -> None:
    with pytest.raises(BadPayload, match=said) as refused:
        shape("s", body)

    assert not isinstance(refused.value, LayoutChanged)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (rb'{"name": "Amber\u0000Foundry"}', "NUL"),
        (rb'{"na\u0000me": 1}', "NUL"),
        (rb'{"name": "Amber \ud83d"}', "half of a character"),
        (rb'["\udc00"]', "half of a character"),
    ],
)
def test_json_that_no_text_can_hold_is_a_bad_payload(body: bytes, said: str) -> None:
    with pytest.raises(BadPayload, match=said):
        parsed("s", body)


def test_json_may_write_its_characters_as_it_likes() -> None:
    assert parsed("s", rb'{"name": "\ud83d\ude00 \u20b9"}') == {"name": "😀 ₹"}


def test_a_page_cut_off_is_a_bad_payload() -> None:
    whole = page("<table><tr><td>1</td></tr></table>")

    for end in (len(whole) - 8, whole.index(b"</table"), whole.index(b"<td>")):
        with pytest.raises(BadPayload, match="before its end"):
            document("s", whole[:end])


def test_a_small_page_without_a_table_is_a_wall_and_a_large_one_a_new_layout() -> None:
    with pytest.raises(BadPayload) as wall:
        document("s", page("<h1>403 Forbidden</h1>"))
    with pytest.raises(LayoutChanged) as shell:
        document("s", page("<div>drawn later</div>" * 5000))

    assert not isinstance(wall.value, LayoutChanged)
    assert "'A page'" in shell.value.reason


@pytest.mark.parametrize(
    "content",
    ["<p>a" * 200_001, "<table></table>" * 401, "<table>" + "<tr><td>1</td></tr>" * 20_001 + "</table>",
     "<table><tr>" + "<td>1" * 201 + "</table>"],
    ids=["tags", "tables", "rows", "cells"],
)  # fmt: skip
def test_a_page_of_more_parts_than_any_page_has_is_refused(content: str) -> None:
    with pytest.raises(BadPayload, match=r"more than|so many"):
        document("s", page(content))


def test_an_entity_of_a_document_s_own_is_not_expanded() -> None:
    bomb = '<!DOCTYPE html [<!ENTITY a "lol"><!ENTITY b "&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
    body = f"{bomb}<html><body><table><tr><td>&b;</td><td>&f;</td></tr></table></body></html>".encode()

    (table,) = document("s", body).tables

    assert all("lol" not in cell and "root:" not in cell for row in table.rows for cell in row)


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"a":' * 100_000, b"[1,", b'{"a" 1}', b"[" + b"9" * 10_000 + b"]"])
def test_json_that_is_deep_broken_or_huge_is_a_bad_payload(body: bytes) -> None:
    with pytest.raises(BadPayload, match="not JSON"):
        parsed("s", body)


def test_a_list_of_anything_but_objects_is_a_bad_payload() -> None:
    for rows in ([1, 2], {"a": 1}, None, [[]]):
        with pytest.raises(BadPayload, match="objects"):
            grid("s", json.dumps(rows).encode(), "rows", rows)
