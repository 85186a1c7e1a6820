"""Sources: every recorded page read, the names of issues matched in six orders, and the wrong values known.

What is recorded lies in ../shared, which need not be there. A merge is false when two issues of `aliases.csv` become
one; a split leaves one of them in two. A wrong value is believed when it is kept as it stands.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import NamedTuple

from benchmarks.premiums import CLEAN, read
from benchmarks.report import Report, Rows, Tables
from market.errors import LayoutChanged
from market.ipo import repairs
from market.ipo.facts import Told
from market.ipo.kinds import Segment
from market.ipo.matching import Matcher
from market.ipo.pages import Page, PageKind
from market.ipo.repairs import CRORE, Judged, Kept, Refused, Repaired
from market.ipo.sources import Source
from market.money import Money, money
from market.sessions import DAY, IST, at, nanoseconds
from market.vendors.chittorgarh import Chittorgarh
from market.vendors.investorgain import InvestorGain
from market.vendors.ipowatch import IpoWatch
from market.vendors.nse_ipo import NseIssues

SHARED = CLEAN.parents[2]
BOARDS = "fixtures/ipo/pages/investorgain"
PAGES = "fixtures/ipo/pages"
NSE = "fixtures/nse/ipo"

SEEDS = (0, 1)
UNDATED = ("", "ains", "prajL")
"""Of whose rows the listing day is taken away, as a board has them before it is fixed; none at first."""

COUNTED = ("rows", "premiums", "with a quote", "facts", "bids", "cells refused", "headings unknown")
"""Of each page."""

UNLIKE = 60.0
"""The likeness of names, of 100, below which sources call an issue by names that do not tell it is the same."""

ONE_IN_TRUTH = (
    {"mishra-dhatu-ni-2018", "mishra-dhatu-nigam-2018"},
    {"akiko-global-services-2024", "the-money-fair-sme-2024"},
)
"""Issues that the table keeps apart and that are one: Mishra Dhatu Nigam has a name cut after 15 letters, and Akiko
Global Services is The Money Fair, as ipo-sources.md says.
"""


class Recorded(NamedTuple):
    """A recorded page and how it is read: `fetched`, on India's clocks."""

    file: str
    source: Source
    kind: PageKind
    fetched: str
    key: str = ""

    def read(self, shared: Path) -> Page:
        """What it tells. Raises BadPayload, LayoutChanged."""
        received = nanoseconds(datetime.fromisoformat(self.fetched).replace(tzinfo=IST))
        return self.source.read((shared / self.file).read_bytes(), self.kind, received, self.key)


RECORDED = (
    Recorded(f"{BOARDS}/ig_performance_20250904_be09dbdda7_rowfiltered.json", InvestorGain(), PageKind.PERFORMANCE,
             "2025-09-04T20:00"),
    Recorded(f"{PAGES}/ipowatch_and_others/iforinvest_gmp_board_2024-12.txt", IpoWatch("iforinvest"), PageKind.BOARD,
             "2024-12-09T10:00"),
    Recorded(f"{PAGES}/ipowatch_and_others/ipograymarket_gmp_board_2024-08.txt", IpoWatch("ipograymarket"),
             PageKind.BOARD, "2024-08-28T10:00"),
    Recorded(f"{PAGES}/ipowatch_and_others/ipowatch_gmp_board_2024-12.txt", IpoWatch(), PageKind.BOARD,
             "2024-12-20T10:00"),
    Recorded(f"{PAGES}/chittorgarh/subscription_chalet_hotels_2019.txt", Chittorgarh(), PageKind.SUBSCRIPTION,
             "2019-02-01T10:00"),
    Recorded(f"{PAGES}/chittorgarh/subscription_chatha_foods_sme_2024.txt", Chittorgarh(), PageKind.SUBSCRIPTION,
             "2024-03-22T10:00"),
    Recorded(f"{PAGES}/chittorgarh/report118_row_ather_energy.json", Chittorgarh(), PageKind.TIMETABLE,
             "2025-05-07T10:00"),
    Recorded(f"{PAGES}/chittorgarh/detail_ather_energy_2025.html", Chittorgarh(), PageKind.ISSUE, "2025-05-07T10:00"),
    Recorded(f"{PAGES}/chittorgarh/list_mainboard_2026_shell_no_rows.html", Chittorgarh(), PageKind.LIST,
             "2026-08-22T10:00"),
    Recorded(f"{PAGES}/nse/ipo-active-category_AUGMONT_2026-08-22.json", NseIssues(), PageKind.SUBSCRIPTION,
             "2026-08-22T10:00", "AUGMONT"),
    Recorded(f"{PAGES}/nse/ipo-current-issue_2026-08-22.json", NseIssues(), PageKind.LIST, "2026-08-22T10:00"),
    Recorded(f"{PAGES}/nse/sample_listCurrentIPO.json", NseIssues(), PageKind.LIST, "2024-03-28T20:00"),
    Recorded(f"{PAGES}/nse/sample_listUpcomingIPO.json", NseIssues(), PageKind.UPCOMING, "2024-03-28T20:00"),
    Recorded(f"{PAGES}/nse/sample_listPastIPO.json", NseIssues(), PageKind.PAST, "2024-03-28T20:00"),
    Recorded(f"{NSE}/nse-active-category-vnl.json", NseIssues(), PageKind.SUBSCRIPTION, "2026-10-02T10:00", "VNL"),
    Recorded(f"{NSE}/nse-current-issue.json", NseIssues(), PageKind.LIST, "2026-10-02T10:00"),
    Recorded(f"{NSE}/nse-detail-rkfal-sme.json", NseIssues(), PageKind.ISSUE, "2026-10-02T10:00"),
)  # fmt: skip
"""The pages but for the boards, which have their instant in their name."""


def run(out: Report) -> None:
    """Every table."""
    if not CLEAN.is_dir():
        out.say("the recorded tables are not beside the repository")
        return
    for title, rows in tables(SHARED):
        out.table(title, rows)


def tables(shared: Path) -> Tables:
    """All of it, from the folder of what is shared."""
    clean = shared / "fixtures/ipo/clean"
    yield "Recorded pages, read", [_read(one, shared) for one in (*boards(shared), *RECORDED)]
    rows = aliases(clean)
    unlike = {row["ipo_id"] for row in read(clean, "aliases.csv") if float(row["name_similarity"] or 100) < UNLIKE}
    yield "Names of issues, matched", [matched(rows, unlike, seed, who) for who in UNDATED for seed in SEEDS]
    yield "Values known to be wrong", wrong_values(clean)


def boards(shared: Path) -> list[Recorded]:
    """InvestorGain's board as it was recorded, oldest first."""
    files = sorted((shared / BOARDS).glob("ig_board_*.json"))
    return [Recorded(f"{BOARDS}/{one.name}", InvestorGain(), PageKind.BOARD, one.name[9:24]) for one in files]


def _read(one: Recorded, shared: Path) -> dict[str, object]:
    head = {"page": Path(one.file).stem.removesuffix("_rowfiltered"), "source": one.source.name, "kind": str(one.kind)}
    try:
        page = one.read(shared)
    except LayoutChanged:
        counts, alarm = (0,) * len(COUNTED), "its layout has changed"
    else:
        quoted = sum(told.gmp is not None for told in page.gmps)
        told_of = (page.gmps, page.facts, page.subscriptions, page.refused, page.unknown)
        premiums, facts, bids, refused, unknown = map(len, told_of)
        counts, alarm = (page.rows, premiums, quoted, facts, bids, refused, unknown), ""
    return head | dict(zip(COUNTED, counts, strict=True)) | {"alarm": alarm}


def aliases(clean: Path) -> list[tuple[str, Told]]:
    """Every name by which each source knows an issue, with the issue's id."""
    segments = {row["ipo_id"]: row["segment"] for row in read(clean, "ipo_master.csv")}
    found = []
    for row in read(clean, "aliases.csv"):
        price = row["issue_price_in_source"] if float(row["issue_price_in_source"] or 0) > 0 else None
        day = date.fromisoformat(row["listing_date_in_source"])
        told = Told(
            source=row["source"],
            name=row["name_in_source"],
            at=at(day, time(0)),
            listing=day,
            price=money(price) if price else None,
            symbol=row["nse_symbol"] or None,
            code=row["bse_code"] or None,
            segment=Segment.MAINBOARD if segments[row["ipo_id"]] == "MB" else Segment.SME,
        )
        found.append((row["ipo_id"], told))
    return found


class Matching(NamedTuple):
    """What became of rows that were fed to a matcher: issues made of more than one true one, true ones left in more
    than one, and of each row that waits for a person whose it is.
    """

    issues: int
    merged: list[set[str]]
    split: list[str]
    queue: list[set[str]]


def matching(rows: Sequence[tuple[str, Told]]) -> Matching:
    """Feed rows, each with its true issue, settle what became certain, and hold it against the truth."""
    truth: defaultdict[str, set[str]] = defaultdict(set)
    matcher = Matcher()
    for issue, row in rows:
        truth[row.model_dump_json()].add(issue)
        matcher.feed(row)
    matcher.settle()
    homes: defaultdict[str, set[str]] = defaultdict(set)
    merged = []
    known = list(matcher.snapshot()["known"])
    for issue in known:
        meant = set[str]().union(*(truth[row.model_dump_json()] for row in matcher.known(issue)))
        merged += [meant] if len(meant) > 1 and meant not in ONE_IN_TRUTH else []
        for one in meant:
            homes[one].add(issue)
    split = sorted(one for one, found in homes.items() if len(found) > 1)
    queue = [truth[queued.told.model_dump_json()] for queued in matcher.queue.values()]
    return Matching(len(known), merged, split, queue)


def shuffled(rows: Sequence[tuple[str, Told]], seed: int, undated: str) -> list[tuple[str, Told]]:
    """The rows in an order of their own; those of the source `undated` without their listing day."""
    found = [(issue, without_day(row) if row.source == undated else row) for issue, row in rows]
    random.Random(seed).shuffle(found)
    return found


def without_day(row: Told) -> Told:
    """The row as a board would have it two days before the listing."""
    return row.model_copy(update={"listing": None, "at": row.at - 2 * DAY})


def matched(rows: Sequence[tuple[str, Told]], unlike: set[str], seed: int, undated: str) -> dict[str, object]:
    """One order of the rows as a row of the table; `unlike`: the issues whose sources call them by unlike names."""
    found = matching(shuffled(rows, seed, undated))
    whole = unlike - set(found.split) - set[str]().union(*found.queue)
    head = {"order": seed + 1, "without a listing day": undated or "nobody", "rows": len(rows)}
    told = {"issues in truth": len({issue for issue, _ in rows}), "issues found": found.issues}
    bad = {"false merges": len(found.merged), "splits": len(found.split), "in the queue": len(found.queue)}
    return head | told | bad | {"by unlike names": len(unlike), "of them whole": len(whole)}


def wrong_values(clean: Path) -> Rows:
    """By kind: how many were repaired, refused, and believed; of the repaired, how many wrongly."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row, found in judged(clean):
        counts[row["kind"]]["rows"] += 1
        counts[row["kind"]][type(found).__name__.lower()] += 1
        counts[row["kind"]]["wrong"] += isinstance(found, Repaired) and not right(row, found)
    every = sum(counts.values(), Counter[str]())
    return [
        {"kind": kind, "rows": n["rows"], "repaired": n["repaired"], "refused": n["refused"], "believed": n["kept"],
         "repaired wrongly": n["wrong"]}
        for kind, n in [*counts.items(), ("all", every)]
    ]  # fmt: skip


def judged(clean: Path) -> Iterator[tuple[dict[str, str], Judged]]:
    """Every value known to be wrong beside what else is known of its issue, and what is made of it."""
    master = {row["ipo_id"]: row for row in read(clean, "ipo_master.csv")}
    days = [(row["ipo_id"], date.fromisoformat(row["date"])) for row in read(clean, "gmp_daily.csv")]
    for row in read(clean, "known_bad_values.csv"):
        if row["kind"] == "wrong offer":
            yield row, _series([day for issue, day in days if issue == row["ipo_id"]], master[row["ipo_id"]])
        else:
            yield row, _judged(row, master[row["ipo_id"]])


def right(row: dict[str, str], found: Repaired) -> bool:
    """Whether a repaired value is the one known from elsewhere: a size to what was rounded away."""
    size = "size" in row["field"]
    off = abs(found.value - (crores if size else money)(row["value_elsewhere"]))
    return off <= (repairs.ROUNDING if size else 0)


def crores(amount: str) -> Money:
    """Of so many crores of rupees."""
    return Money(money(amount) * CRORE)


def _series(days: Sequence[date], master: dict[str, str]) -> Judged:
    """One day of a series that is believed makes the whole of it believed."""
    listing = date.fromisoformat(master["listing_date"])
    found = [repairs.quote_day(day, listing) for day in days]
    refused = [one for one in found if isinstance(one, Refused)]
    return refused[0] if refused and len(refused) == len(found) else Kept(value=money("0"))


def _judged(row: dict[str, str], master: dict[str, str]) -> Judged:
    said, elsewhere = row["value_in_source"], row["value_elsewhere"]
    price, opened = (money(master[name]) if master[name] else None for name in ("issue_price", "listing_open"))
    witness = money(elsewhere) if elsewhere and "date" not in row["kind"] else None
    match row["kind"]:
        case "thousands separator lost":
            return repairs.size(crores(said), crores(elsewhere) if elsewhere else None)
        case "decimal point lost":
            return repairs.premium(money(said), witness)
        case "close adjusted for a later split/bonus" if price is not None:
            return repairs.first_close(money(said), price, opened)
        case "placeholder equal to issue price" if price is not None:
            return repairs.first_close(money(said), price, opened, witness)
        case "wrong or adjusted listing price":
            return repairs.first_price(money(said), witness)
        case "listing date before closing date":
            closes = date.fromisoformat(row["note"].removeprefix("closes "))
            return repairs.listing_day(date.fromisoformat(said), closes) or Kept(value=money("0"))
    raise ValueError(f"no rule for {row['kind']}")
