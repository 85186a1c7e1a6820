"""Replies of the IPO desk's paths, as records. Prices and premiums are rupees a share, points those of the issue price,
confidence and probabilities 0 to 1, instants ISO 8601 in UTC, days of India; null is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from market.ipo.kinds import Kind, Segment
from market.ipo.ledger import Account, Standing
from market.ipo.life import State
from market.ipo.profit import Joined, Measured
from market.ipo.readings import Status
from market.ipo.walkforward import Gate, Task
from market.records import Record


class ThresholdsAnswer(Record):
    """From where on an issue is called profitable: `points` of the issue price, `amount` rupees a share, one of them or
    both. `own`: they were set by who asks; else they are what everybody is given at first.
    """

    points: float
    amount: float
    joined: Joined
    own: bool


class ExpectedAnswer(Record):
    """A prediction that is served: points of the issue price, in an interval that holds in four cases of five; `model`:
    `ours`, or `gmp`, the premium alone, where nothing has shown to be better.
    """

    task: Task
    model: str
    decided: str
    points: float
    low: float | None
    high: float | None
    p_gain_10: float | None
    p_loss: float | None


class TimesAnswer(Record):
    """How often all shares were bid for by the end of `day`; `book`: of which exchange, `all` is the whole market."""

    times: float
    day: str
    source: str
    book: str


class IssueRow(Record):
    """An issue on the board. `status`: where it stands; `told`: what a page said last; `low`, `high`: the price band;
    `lot` shares; `size_crore` crore rupees; `gmp` the premium believed when it was validated, of quotes the newest of
    which was `age_seconds` old then; `disagreement_points`: how far its sources are apart; `overridden`: an operator
    set it; `open_points`, `close_points`: what the first trade and the day's close brought.
    """

    id: str
    name: str
    symbol: str | None
    code: str | None
    isin: str | None
    segment: Segment | None
    kind: Kind | None
    exchange: str | None
    status: State
    told: Status
    opens: str | None
    closes: str | None
    allots: str | None
    lists: str | None
    low: float | None
    high: float | None
    lot: int | None
    shares: int | None
    size_crore: float | None
    gmp: float | None
    points: float | None
    confidence: float | None
    disagreement_points: float | None
    age_seconds: float | None
    validated_at: str | None
    overridden: bool
    profitable: bool | None
    expected: ExpectedAnswer | None
    subscription: TimesAnswer | None
    open_points: float | None
    close_points: float | None


class BoardAnswer(Record):
    """Some issues of `total`. `next`: the `cursor` of the next page, null on the last; `precision`: how often these
    thresholds were right about issues that have listed, by the premium of their closing day, a gain of 10 points being
    enough.
    """

    total: int
    next: str | None
    thresholds: ThresholdsAnswer
    precision: Measured
    issues: tuple[IssueRow, ...]


class FactAnswer(Record):
    """A fact, and the page that told it: see `/api/v1/ipo/pages/{digest}`."""

    fact: str
    value: str | float | int
    source: str
    page: str
    at: str | None


class NameAnswer(Record):
    """What a source calls an issue."""

    source: str
    name: str


class UsedAnswer(Record):
    """A source's premium that voted, with what weight of 1; `at`: by its own stamp."""

    source: str
    gmp: float
    points: float
    at: str | None
    weight: float


class RefusedAnswer(Record):
    """A source's premium that did not vote, and why."""

    source: str
    gmp: float
    points: float
    at: str | None
    why: str


class SpikeAnswer(Record):
    """The premium went from one level to another since an instant, in points."""

    before_points: float
    points: float
    since: str | None


class BelievedAnswer(Record):
    """What is believed of a premium `at` its validation. `shown_points`: how far off its sources usually are;
    `age_seconds`: of the newest quote that was used, then.
    """

    at: str | None
    gmp: float | None
    points: float | None
    confidence: float
    disagreement_points: float | None
    shown_points: float | None
    age_seconds: float | None
    used: tuple[UsedAnswer, ...]
    refused: tuple[RefusedAnswer, ...]
    spike: SpikeAnswer | None


class PointAnswer(Record):
    """A premium as it was believed."""

    at: str | None
    gmp: float | None
    points: float | None
    confidence: float
    overridden: bool


class ToldAnswer(Record):
    """A premium as a source told it `at`, its own stamp where it is `stamped`, else the fetch; null: no quote."""

    at: str | None
    stamped: bool
    gmp: float | None
    page: str
    place: str


class DemandAnswer(Record):
    """What a category bid: how many times what is reserved for it, shares offered and bid."""

    times: float | None
    offered: int | None
    bid: int | None


class BidsAnswer(Record):
    """What was bid by the end of a day, as a source told last; only the book `all` is the whole market."""

    day: str
    source: str
    book: str
    at: str | None
    page: str
    categories: Mapping[str, DemandAnswer]


class SaidAnswer(Record):
    """A prediction as it was published `at`; `served`: it is the answer."""

    task: Task
    model: str
    served: bool
    at: str | None
    decided: str
    gmp_points: float
    points: float
    low: float | None
    high: float | None
    p_gain_10: float | None
    p_loss: float | None


class PredictedAnswer(Record):
    """What is predicted of a task: what is served, why, in words and as the month's `gate` says it, and what each model
    said.
    """

    task: Task
    served: SaidAnswer | None
    why: str
    gate: Gate | None
    said: tuple[SaidAnswer, ...]


class OverrideAnswer(Record):
    """A premium that an operator set, and why: until a source tells a newer one or, `pinned`, until it is cleared."""

    gmp: float
    pinned: bool
    because: str
    at: str | None


class HintAnswer(Record):
    """A row of a page that waits for a person and may be of this issue."""

    number: int
    source: str
    name: str
    why: str
    at: str | None


class CameAnswer(Record):
    """What came: points of the issue price by the first trade and by the day's close."""

    at: str | None
    open_points: float | None
    close_points: float | None


class IssueAnswer(Record):
    """All that is known of an issue. Its `id` is another than was asked for where the two were joined. `history`: the
    last changes of the premium believed; `subscription`: by day, oldest first; `hints`: what may be of it too.
    """

    id: str
    name: str
    status: State
    told: Status
    first_at: str | None
    seen_at: str | None
    facts: tuple[FactAnswer, ...]
    names: tuple[NameAnswer, ...]
    believed: BelievedAnswer | None
    thresholds: ThresholdsAnswer
    profitable: bool | None
    precision: Measured
    history: tuple[PointAnswer, ...]
    subscription: tuple[BidsAnswer, ...]
    predictions: tuple[PredictedAnswer, ...]
    override: OverrideAnswer | None
    outcome: CameAnswer | None
    hints: tuple[HintAnswer, ...]


class SeriesAnswer(Record):
    """Premiums of an issue in [from, to), oldest first: as they were believed, and as each source told them.
    `truncated`: these are the newest of more.
    """

    id: str
    since: str | None = Field(alias="from")
    until: str | None = Field(alias="to")
    truncated: bool
    believed: tuple[PointAnswer, ...]
    sources: Mapping[str, tuple[ToldAnswer, ...]]


class ScoredAnswer(Record):
    """A prediction and what came, points of the issue price: `missed` without sign; `hit`: on the right side of a gain
    of 10 points; `within` its interval.
    """

    issue: str
    name: str
    segment: str
    task: Task
    model: str
    at: str
    gmp_points: float | None
    points: float
    low: float | None
    high: float | None
    p_gain_10: float | None
    p_loss: float | None
    came_points: float
    missed: float
    gmp_missed: float | None
    hit: bool
    within: bool | None


class TrackAnswer(Record):
    """How good what was published has been: each model at each task, each source, by segment and in `all`, and every
    prediction that was scored, the last to list first. Of an issue, task and model the last one before the first trade
    counts: others were `replaced`, came too `late`, or are `waiting` for what comes. `truncated`: there are more.
    """

    task: Task | None
    segment: Segment | None
    since: str | None
    accounts: tuple[Account, ...]
    league: Mapping[str, tuple[Standing, ...]]
    predictions: tuple[ScoredAnswer, ...]
    truncated: bool
    replaced: int
    late: int
    waiting: int


class PageAnswer(Record):
    """Where a page's bytes came from: of which source and address, first and last; `trouble`: why it is no data;
    `issues`, `premiums`, `bids`: how many rows it told of each; `key`: of which issue it was asked for, if of one.
    """

    source: str
    kind: str
    key: str
    url: str
    fetched_at: str | None
    seen_at: str | None
    size: int
    trouble: str
    issues: int
    premiums: int
    bids: int
    refused: int


class PagesAnswer(Record):
    """A page's bytes by their digest, as each source and kind they were taken for."""

    digest: str
    pages: tuple[PageAnswer, ...]


class ReviewAnswer(Record):
    """A row that nobody was sure of. `candidates`: the issues it may be of; `issue`: what was decided, by whom."""

    number: int
    source: str
    name: str
    why: str
    candidates: tuple[str, ...]
    symbol: str | None
    segment: Segment | None
    opens: str | None
    closes: str | None
    lists: str | None
    price: float | None
    gmp: float | None
    pages: tuple[str, ...]
    at: str | None
    issue: str | None
    by: str
    because: str
    decided_at: str | None


class ReviewsAnswer(Record):
    """Rows by their number; `next`: the `after` of the next page, null on the last."""

    reviews: tuple[ReviewAnswer, ...]
    next: int | None


class AlarmAnswer(Record):
    """The newest page of a source's kind, which is no data, and why; `key`: of which issue, where it tells of one alone
    (the symbol of NSE's bids).
    """

    source: str
    kind: str
    key: str
    digest: str
    url: str
    trouble: str
    fetched_at: str | None
    seen_at: str | None


class AlarmsAnswer(Record):
    """The pages that are alarms now."""

    alarms: tuple[AlarmAnswer, ...]


class PlacedAnswer(Record):
    """The issue something is of now."""

    issue: str


class AcceptedAnswer(Record):
    """What a page that was an alarm told, now that it is data: rows of issues that were known, the ids of new ones,
    numbers in the review queue, premiums.
    """

    digest: str
    matched: int
    issues: tuple[str, ...]
    unsure: tuple[int, ...]
    premiums: int
