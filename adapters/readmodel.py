"""The read model: the keys and channels that users of the first systems know, refreshed at a human rate.

    tick:latest:RELIANCE      JSON of the latest tick, gone after 300 s without a newer one
    depth:latest:RELIANCE     JSON of the visible book, gone after 300 s without a newer one
    candle:current:RELIANCE   hash of the minute being built, gone after 120 s
    analysis:latest:RELIANCE  JSON of the features of the last minute that closed
    model:input:RELIANCE      features and sequence of that minute as models take them, packed (`adapters.inputs`)
    analysis:results          stream of the newest 1000 scorecards: symbol, ts, trend, recommendation, rsi, macd, ...
    market:gainers            equities of the session by change in per cent
    market:losers             the same by how far they fell, in per cent: the first is the one that fell most
    market:view               JSON of the whole market, `market.view.MarketView`, gone after 300 s
    signal:latest:RELIANCE    JSON of the last signal
    tick:updates              channel: symbol and price of every changed quote
    market:sentiment          channel: breadth, how many equities rose for each that fell
    signal:alerts             channel: every new signal
    bourse:NAME               our own records, such as `status`
    bourse:quotes             all quotes as one value (`adapters.latest`), gone after 60 s: what a gateway begins with

Symbols stand as `RELIANCE` for NSE and as `BSE:XYZ` for others; prices are rupees, times epoch seconds. Nothing here
must survive: after a loss it fills up again as quotes change.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from adapters.inputs import pack
from adapters.redis_line import Call, RedisLine, Word
from market.candles import Candles
from market.models.examples import Examples
from market.money import SCALE, UNKNOWN, to_floats
from market.quotes import Quotes, change
from market.scores import Recommendation, Scores
from market.signals import SignalRecord
from market.ticks import Ticks
from market.view import MarketView

TICK_SECONDS = 300
JUDGEMENTS = "judgements"
"""Our record of what was found of each version and horizon, `VERSION HORIZON`: its weight, hit rate and so on."""
CANDLE_SECONDS = 120
RESULTS, MOST_RESULTS = "analysis:results", 1000
VIEW_SECONDS = 300
QUOTES_KEY, QUOTES_SECONDS = "bourse:quotes", 60
"""Behind an older value there is more on the bus than a beginner should have to read."""

_CANDLE = ("open", "high", "low", "close")


class ReadModel:
    """A writer and reader of the second Redis. Every method is one round trip and raises LineDown."""

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        """`timeout` in seconds for every answer. Connects on first use."""
        self._line = RedisLine(url, timeout)
        self._seen = 0

    def refresh(self, symbols: Sequence[str], quotes: Quotes, equity: npt.NDArray[np.bool_]) -> int:
        """Write the quotes that changed since the last refresh; how many.

        `symbols`, (n,), and `equity`, (n,) of those that count for gainers and breadth, by instrument.
        """
        version = quotes.version
        everyone = np.arange(len(symbols))
        rows = quotes.read(everyone)
        rising = change(rows)[1]
        changed = quotes.changed(everyone, self._seen)
        changed = changed[rows["price"][changed] != UNKNOWN]
        if len(changed):
            names = [_name(s) for s in symbols]
            today = equity & np.isfinite(rising) & (rows["session"] == rows["session"].max())
            self._line.calls(_ticks(names, rows, rising, changed) + _market(names, rising, np.flatnonzero(today)))
        self._seen = version
        return len(changed)

    def current_candles(self, symbols: Sequence[str], rows: Candles) -> None:
        """Write the candles being built: `CANDLE` rows, (n,), and their symbols, (n,)."""
        prices = {name: to_floats(rows[name]) for name in _CANDLE}
        calls: list[Call] = []
        for i in np.flatnonzero(rows["close"] != UNKNOWN).tolist():
            key = f"candle:current:{_name(symbols[i])}"
            fields: list[Word] = [word for name in _CANDLE for word in (name, repr(float(prices[name][i])))]
            calls.append(
                ("HSET", key, *fields, "volume", int(rows["volume"][i]), "start", int(rows["start"][i]) // 10**9)
            )
            calls.append(("EXPIRE", key, CANDLE_SECONDS))
        if calls:
            self._line.calls(calls)

    def depths(self, symbols: Sequence[str], rows: Ticks) -> None:
        """Write visible books: `DEPTH` rows, (n,), and their symbols, (n,)."""
        calls: list[Call] = []
        for symbol, row in zip(symbols, rows, strict=True):
            book = {side: _levels(row, name) for side, name in (("buy", "bid"), ("sell", "ask"))}
            text = json.dumps({"symbol": _name(symbol), "ts": int(row["at"]) // 10**9, **book})
            calls.append(("SET", f"depth:latest:{_name(symbol)}", text, "EX", TICK_SECONDS))
        if calls:
            self._line.calls(calls)

    def market(self, view: MarketView, *, tell: bool) -> None:
        """Write the view of the market; `tell`: say its sentiment on the channel too."""
        calls: list[Call] = [("SET", "market:view", view.model_dump_json(), "EX", VIEW_SECONDS)]
        if tell and view.advancing + view.declining + view.unchanged:
            said = {"overall": view.overall, "breadth": view.breadth}
            calls.append(("PUBLISH", "market:sentiment", json.dumps(said)))
        self._line.calls(calls)

    def market_view(self) -> MarketView | None:
        """The last view of the market; None when there is none, or it has expired."""
        text = self._line.call("GET", "market:view")
        return None if text is None else MarketView.model_validate_json(text)

    def signals(self, told: Sequence[SignalRecord]) -> None:
        """Write new signals, oldest first, and say each on the channel."""
        calls: list[Call] = []
        for one in told:
            text = one.model_dump_json()
            calls += [("SET", f"signal:latest:{_name(one.symbol)}", text), ("PUBLISH", "signal:alerts", text)]
        if calls:
            self._line.calls(calls)

    def features(self, symbols: Sequence[str], rows: npt.NDArray[np.void]) -> None:
        """Write the newest features: `FEATURE` rows, (n,), and their symbols, (n,)."""
        from market.features import NAMES, SET, Unknown  # here: few need TA-Lib and pandas

        calls: list[Call] = []
        for symbol, row in zip(symbols, rows, strict=True):
            record = {
                "symbol": symbol,
                "set": SET,
                "start": int(row["start"]),
                "session": int(row["session"]),
                "revision": int(row["revision"]),
                "unknown": Unknown(row["unknown"]).name if row["unknown"] else None,
                "values": dict(zip(NAMES, row["values"].tolist(), strict=True)),
            }
            calls.append(("SET", f"analysis:latest:{_name(symbol)}", orjson.dumps(record)))
        if calls:
            self._line.calls(calls)

    def feature(self, symbol: str) -> dict[str, Any] | None:
        """The newest features of a symbol; None when none have been written. A value that is not known is None."""
        text = self._line.call("GET", f"analysis:latest:{_name(symbol)}")
        found: dict[str, Any] | None = None if text is None else orjson.loads(text)
        return found

    def inputs(self, symbols: Sequence[str], examples: Examples) -> None:
        """Write what models see now: (n,) examples and their symbols, (n,)."""
        pairs = zip(symbols, pack(examples), strict=True)
        words = [word for symbol, one in pairs for word in (f"model:input:{_name(symbol)}", one)]
        if words:
            self._line.call("MSET", *words)

    def read_inputs(self, symbols: Sequence[str]) -> list[bytes | None]:
        """What was written of some symbols, packed, in their order; None where nothing was."""
        found: list[bytes | None] = self._line.call("MGET", *(f"model:input:{_name(s)}" for s in symbols))
        return found

    def results(self, symbols: Sequence[str], rows: Scores) -> None:
        """Add scorecards, `SCORE` rows, (n,), and their symbols, (n,), to the stream of the newest."""
        macd = to_floats(rows["macd"])
        calls: list[Call] = []
        for symbol, row, line in zip(symbols, rows, macd.tolist(), strict=True):
            numbers = {name: float(row[name]) for name in ("rsi", "composite", "prediction")} | {"macd": line}
            words: list[Word] = [w for name, x in numbers.items() if x == x for w in (name, repr(round(x, 4)))]
            told = Recommendation(int(row["recommendation"])).name
            leaning = "BULLISH" if row["trend"] >= 1 else "BEARISH" if row["trend"] <= -1 else "NEUTRAL"
            at = int(row["start"]) // 10**9 + 60
            fields = ("symbol", _name(symbol), "ts", at, "trend", leaning, "recommendation", told, *words)
            calls.append(("XADD", RESULTS, "MAXLEN", "~", MOST_RESULTS, "*", *fields))
        if calls:
            self._line.calls(calls)

    def keep_quotes(self, packed: bytes) -> None:
        """Keep all quotes for those who begin."""
        self._line.call("SET", QUOTES_KEY, packed, "EX", QUOTES_SECONDS)

    def kept_quotes(self) -> bytes | None:
        """All quotes as they were last kept; None when nobody did of late."""
        found: bytes | None = self._line.call("GET", QUOTES_KEY)
        return found

    def put(self, name: str, value: dict[str, Any], expiry: float) -> None:
        """Keep a record of ours for `expiry` seconds."""
        self._line.call("SET", f"bourse:{name}", json.dumps(value), "PX", max(1, int(expiry * 1000)))

    def get(self, name: str) -> dict[str, Any] | None:
        """A record of ours; None when there is none or it has expired."""
        text = self._line.call("GET", f"bourse:{name}")
        value: dict[str, Any] | None = None if text is None else json.loads(text)
        return value

    def close(self) -> None:
        """Close the connections."""
        self._line.close()


def _levels(row: np.void, side: str) -> list[dict[str, float | int]]:
    prices, quantities, orders = (row[f"{side}{what}"].tolist() for what in ("", "_quantity", "_orders"))
    return [
        {"price": price / SCALE, "quantity": quantity, "orders": count}
        for price, quantity, count in zip(prices, quantities, orders, strict=True)
        if price != UNKNOWN
    ]


def _ticks(
    names: list[str], rows: Candles, rising: npt.NDArray[np.float64], changed: npt.NDArray[np.int64]
) -> list[Call]:
    prices = to_floats(rows["price"])
    calls: list[Call] = []
    for i in changed.tolist():
        volume = int(rows["day_volume"][i])
        tick = {
            "symbol": names[i],
            "ltp": float(prices[i]),
            "volume": None if volume == UNKNOWN else volume,
            "ts": int(rows["at"][i]) // 10**9,
            "change_percent": round(float(rising[i]), 4) if np.isfinite(rising[i]) else None,
        }
        update = {"symbol": names[i], "ltp": tick["ltp"]}
        calls.append(("SET", f"tick:latest:{names[i]}", json.dumps(tick), "EX", TICK_SECONDS))
        calls.append(("PUBLISH", "tick:updates", json.dumps(update)))
    return calls


def _market(names: list[str], rising: npt.NDArray[np.float64], today: npt.NDArray[np.int64]) -> list[Call]:
    if not len(today):
        return [("DEL", "market:gainers", "market:losers")]
    calls: list[Call] = []
    for key, sign in (("market:gainers", 1), ("market:losers", -1)):
        scores = [word for i in today.tolist() for word in (repr(sign * float(rising[i])), names[i])]
        calls += [("DEL", f"{key}:next"), ("ZADD", f"{key}:next", *scores), ("RENAME", f"{key}:next", key)]
    return calls


def _name(symbol: str) -> str:
    return symbol.removeprefix("NSE:")
