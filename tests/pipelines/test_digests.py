"""The daily digest, as text and as a page."""

from __future__ import annotations

from datetime import date
from typing import Any

from adapters.ipos import Outcome, Said
from market.ipo.issues import Issue
from market.ipo.kinds import Segment
from market.ipo.ledger import Standing
from market.ipo.life import State
from market.ipo.validation import ValidatedGmp
from market.ipo.walkforward import Task
from market.money import money
from pipelines.digests import Digest, Entry, html, text


def entry(state: State = State.OPEN, **words: Any) -> Entry:
    issue = Issue(
        id="amber", name="Amber <& Sons>", segment=Segment.SME, high=money("321"), closes=date(2025, 1, 1),
        lists=date(2025, 1, 6), state=state, first_at=0, seen_at=0,
    )  # fmt: skip
    return Entry(issue=issue, **words)


BELIEVED = ValidatedGmp(
    issue="amber", at=0, gmp=money("41.5"), points=12.93, confidence=0.61, disagreement_points=None, shown_points=None,
    age=None, used=(), refused=(), spike=None,
)  # fmt: skip
SAID = Said(
    issue="amber", task=Task.OPEN, model="gmp", at=0, decided=date(2025, 1, 5), gmp_points=12.93,
    predicted_points=11.2, low_points=2.0, high_points=20.4, p_gain_10=0.5, p_loss=0.1, served=True, gate={},
)  # fmt: skip
CAME = Outcome(issue="amber", at=0, segment="sme", open_points=10.5, close_points=None, scored_at=0)


def page(**words: Any) -> Digest:
    told: dict[str, Any] = dict.fromkeys(("open", "ahead", "unlisted", "listed", "accounts", "league"), ())
    return Digest.model_validate({"day": date(2025, 1, 1), "waiting": 0, **told, **words})


def test_an_issue_is_a_line_with_what_is_known_of_it() -> None:
    said = text(page(open=(entry(believed=BELIEVED, said=SAID),)))

    lines = said.splitlines()
    assert lines[0] == "IPO digest, 01 January 2025"
    assert "Open for bids: 1" in lines and "Announced: none" in lines
    assert "  Amber <& Sons>  sme      321.00  41.50    +12.9   0.61        +11.2 (+2.0 to +20.4)  01 Jan 2025" in lines


def test_what_is_not_known_is_a_dash_and_no_zero() -> None:
    said = text(page(open=(entry(),)))

    assert "  Amber <& Sons>  sme      321.00  -        -       -           -         01 Jan 2025" in said.splitlines()


def test_what_was_listed_shows_what_came() -> None:
    said = text(page(listed=(entry(State.LISTED, believed=BELIEVED, outcome=CAME),)))

    assert said.splitlines()[-1].endswith("06 Jan 2025  +10.5")


def test_the_sources_and_the_queue_are_told_of() -> None:
    row = Standing(source="investorgain", n=17, mae=11.83, bias=5.4, accuracy=0.76, behind=0.0)

    said = text(page(league=(row,), waiting=3))

    assert "  investorgain: 17 issues, off by 11.83 points" in said
    assert "3 rows wait for a decision" in said


def test_the_page_says_the_same_and_escapes_names() -> None:
    made = html(page(open=(entry(believed=BELIEVED, said=SAID),), waiting=3))

    assert "<td>Amber &lt;&amp; Sons&gt;</td>" in made and "Amber <&" not in made
    assert all(f"<td>{cell}</td>" in made for cell in ("41.50", "+12.9", "0.61", "+11.2 (+2.0 to +20.4)"))
    assert "3 rows wait" in made
