"""Readings: the records that every source of issues speaks, as its page told them and before anybody has judged them.

What a page does not tell is None, never zero: `--`, `-`, `NA`, `[.]` and an empty cell are no number. Each reading says
its place on the page and keeps the row's cells as they stood, so that a number can be traced to the bytes it came from.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from pydantic import Field

from market.ipo.kinds import Kind, Segment
from market.money import Money
from market.records import Record

Cells = tuple[tuple[str, str], ...]
"""A row's headings and texts, as they stood."""


LONGEST_NAME = 90
"""Characters: the longest on record has 69, and an id that is made of one must fit into an address."""


class Status(StrEnum):
    """Where a page says an issue stands."""

    UPCOMING = "upcoming"
    OPEN = "open"
    CLOSING = "closing today"
    CLOSED = "closed"
    ALLOTTED = "allotted"
    LISTING = "listing today"
    LISTED = "listed"
    POSTPONED = "postponed"
    WITHDRAWN = "withdrawn"
    UNKNOWN = "unknown"


class Category(StrEnum):
    """Who bids. `NII` is `BNII` (over ten lakh rupees) and `SNII` (two to ten) together."""

    QIB = "qib"
    NII = "nii"
    BNII = "bnii"
    SNII = "snii"
    RETAIL = "retail"
    EMPLOYEE = "employee"
    SHAREHOLDER = "shareholder"
    POLICYHOLDER = "policyholder"
    MARKET_MAKER = "market maker"
    ANCHOR = "anchor"
    OTHER = "other"
    TOTAL = "total"


class Book(StrEnum):
    """Whose bids were counted: one exchange's, or those of both. Only ALL is the whole market."""

    NSE = "nse"
    BSE = "bse"
    ALL = "all"
    UNKNOWN = "unknown"


class Reading(Record):
    """What every reading says of its issue. `name` as the source has it, without its tags; `symbol` NSE's, `code` BSE's
    six digits; `place` on the page.
    """

    source: str
    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    symbol: str | None = None
    code: str | None = None
    isin: str | None = None
    segment: Segment | None = None
    kind: Kind | None = None
    exchange: str | None = None
    status: Status = Status.UNKNOWN
    place: str = ""
    cells: Cells = ()


class GmpReading(Reading):
    """A grey-market premium, rupees a share over the upper band, as `Money`; None: no quote. `points`: the same as the
    page tells it, in percentage points of the issue price. `low`, `high`: the price band. `lowest`, `highest`: of the
    premium so far. `kostak`, `sauda`: rupees an application, not a share. `rating` 1 to 5 is the source's own mark.
    `at`: ns UTC of the page's stamp; None: it has none, and the time of the fetch says nothing of the quote's age.
    """

    gmp: Money | None
    points: float | None = None
    low: Money | None = None
    high: Money | None = None
    estimated: Money | None = None
    lowest: Money | None = None
    highest: Money | None = None
    kostak: Money | None = None
    sauda: Money | None = None
    rating: int | None = Field(default=None, ge=1, le=5)
    opens: date | None = None
    closes: date | None = None
    lists: date | None = None
    at: int | None = None


class IssueFacts(Reading):
    """The facts of an issue. `low`, `high`: the price band, equal where the price is fixed; `shares` of the issue,
    `size_crore` its size in crore rupees, `lot` in shares. `listed_at`, `closed_at`: first price and close of the day
    of listing: outcomes, never features.
    """

    low: Money | None = None
    high: Money | None = None
    lot: int | None = None
    shares: int | None = None
    size_crore: float | None = None
    opens: date | None = None
    closes: date | None = None
    allots: date | None = None
    refunds: date | None = None
    lists: date | None = None
    listed_at: Money | None = None
    closed_at: Money | None = None


class Demand(Record):
    """One category's bids: how many times what is reserved for it, shares offered and bid. `times` is None where
    nothing is reserved.
    """

    category: Category
    times: float | None
    offered: int | None = None
    bid: int | None = None


class SubscriptionReading(Reading):
    """How often an issue is subscribed. `opens` binds it to one attempt: a re-filed issue keeps its symbol. `day`: the
    date it tells of, and `number` 1 for the first day of bidding; None: it stands as of `at`.
    """

    demand: tuple[Demand, ...]
    book: Book = Book.UNKNOWN
    opens: date | None = None
    day: date | None = None
    number: int | None = Field(default=None, ge=1)
    at: int | None = None

    def times(self, category: Category) -> float | None:
        """Of one category; None: not told, or nothing is reserved for it."""
        return next((one.times for one in self.demand if one.category is category), None)


class Refused(Record):
    """A cell or a row that cannot be read: counted and shown, never guessed."""

    place: str
    heading: str
    text: str
    reason: str
