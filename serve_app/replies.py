"""Replies: what the gateway's own paths answer, as records. Prices are rupees, instants ISO 8601 in UTC; null is
unknown.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from market.agreement import Agreement
from market.alerts import OperatorAlert
from market.records import Record


class QuoteAnswer(Record):
    """The latest of one symbol. `at`: the exchange's time of the trade; `received_at`: when it came to us;
    `age_seconds`: in market time; `stale`: too old to act on, or of a feed that is mute or down.
    """

    symbol: str
    name: str
    price: float | None
    bid: float | None
    ask: float | None
    open: float | None
    high: float | None
    low: float | None
    previous_close: float | None
    change: float | None
    change_percent: float | None
    bid_quantity: int | None
    ask_quantity: int | None
    open_interest: int | None
    volume: int | None
    at: str | None
    received_at: str | None
    age_seconds: float | None
    stale: bool
    feed_state: str


class QuoteFields(Record):
    """Fields of a quote: those that were asked for, and the symbol."""

    symbol: str
    name: str = ""
    price: float | None = None
    bid: float | None = None
    ask: float | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    previous_close: float | None = None
    change: float | None = None
    change_percent: float | None = None
    bid_quantity: int | None = None
    ask_quantity: int | None = None
    open_interest: int | None = None
    volume: int | None = None
    at: str | None = None
    received_at: str | None = None
    age_seconds: float | None = None
    stale: bool = True
    feed_state: str = ""


class BatchAnswer(Record):
    """Quotes in the order asked for; symbols nobody listed are named."""

    quotes: list[QuoteAnswer]
    unknown: list[str]


class QuotesAnswer(Record):
    """Quotes in the order asked for; symbols nobody listed are named."""

    quotes: list[QuoteFields]
    unknown: list[str]


class CandleAnswer(Record):
    """OHLCV of [start, start + interval). A gap has null prices."""

    start: str
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: int | None
    trades: int | None
    vwap: float | None
    completeness: float
    provenance: Literal["LIVE", "REPAIRED", "OFFICIAL", "GAP", "IMPORTED"]
    revision: int


class Span(Record):
    """[from, to)."""

    since: str | None = Field(alias="from")
    until: str | None = Field(alias="to")


class CoverageAnswer(Record):
    """What an answer is short of."""

    complete: bool
    sessions_missing: int
    sessions_missing_newest: list[str]
    candles_missing: int
    candles_incomplete: int
    gaps: int
    gap_spans: list[Span]


class CandlesAnswer(Record):
    """Candles, oldest first; `truncated`: these are the newest of more."""

    symbol: str
    interval: str
    since: str | None = Field(alias="from")
    until: str | None = Field(alias="to")
    market_time: str | None
    truncated: bool
    coverage: CoverageAnswer
    candles: list[CandleAnswer]


class SurveyAnswer(Record):
    """What is there of every symbol and session."""

    since: str = Field(alias="from")
    until: str = Field(alias="to")
    symbols: list[str]
    sessions: list[str]
    holidays: list[str]
    covered: float | None
    counts: dict[str, int]
    shortfalls_found: int
    shortfalls: list[dict[str, Any]]
    halted: list[dict[str, str]]


class AgreementAnswer(Record):
    """How near each session's daily candles come to the exchange's own."""

    sessions: list[Agreement]


class MarketStatus(Record):
    """The market's phase and clock."""

    phase: str
    market_time: str | None
    session: str | None
    opens: str | None
    closes: str | None
    next_open: str | None
    active_feed: str | None
    feeds: dict[str, str]


class PhaseAnswer(Record):
    """[from, to), in the exchange's zone."""

    phase: str
    since: str = Field(alias="from")
    until: str = Field(alias="to")


class SessionAnswer(Record):
    """A trading day. `source`: who says so."""

    date: str
    weekday: str
    kind: str
    open: str | None
    close: str | None
    open_ist: str
    close_ist: str
    open_local: str
    close_local: str
    minutes: int
    phases: list[PhaseAnswer]
    source: str


class SessionsAnswer(Record):
    """The sessions of an exchange, both dates included."""

    exchange: str
    zone: str
    since: str = Field(alias="from")
    until: str = Field(alias="to")
    sessions: list[SessionAnswer]


class AlertAnswer(OperatorAlert):
    """What an operator should know. `open`: nobody has called it over yet."""

    at: str | None  # type: ignore[assignment]
    open: bool


class AlertsAnswer(Record):
    """Oldest first."""

    alerts: list[AlertAnswer]


class SeamAnswer(Record):
    """One switch of feeds."""

    number: int
    since_feed: str | None = Field(alias="from")
    to: str
    at: str | None
    since: str | None
    reason: str


class FeedsAnswer(Record):
    """Each feed as the switch sees it; the last switches, newest first."""

    active: str | None
    forced: str | None
    held: bool
    trouble: str
    feeds: list[dict[str, Any]]
    switches: list[SeamAnswer]


class HealthAnswer(Record):
    """One word for all, and each part by its name: whether it is up, its lag, its state."""

    status: Literal["ok", "degraded", "down"]
    parts: dict[str, dict[str, Any]]
    bus: dict[str, Any] | None
    database: dict[str, Any] | None
    alerts: list[AlertAnswer]
    trouble: str
    feeds: dict[str, Any]
    limits: dict[str, Any]


class StatusAnswer(Record):
    """Everything the parts say of themselves; more than is named here."""

    model_config = ConfigDict(extra="allow")

    parts: list[dict[str, Any]]
    candles_today: int
    gateway: dict[str, Any]
    alerts: list[AlertAnswer]
    candles_by_symbol: dict[str, int]
