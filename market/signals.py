"""Signals: from predictions and scores to BUY, SELL or HOLD, with what it takes to act on one, and when it ends.

One number decides, the strength: three quarters the prediction, one quarter the composite score, both from -1 to 1. A
signal begins where the strength reaches `enter`, and ends where it falls below `leave`: between the two nothing
changes, so a flat market does not flap; and after each change there is none for `dwell_minutes`, but into HOLD for a
reason of its own: no prediction, no news, the stop was reached, the session ends. What still holds when its horizon has
passed is renewed, with a new stop. A minute decides from its own rows and what was kept of those before, so whoever
folds the same rows comes to the same signals.

The size risks the same part of the capital each time, times the confidence: what the stop would lose. Source of both:
J. Welles Wilder, New Concepts in Technical Trading Systems, 1978 (stops in true ranges); V. Tharp, Trade Your Way to
Financial Freedom, 2007 (percent risk).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from market.errors import BadPayload, BadValue
from market.labels import HORIZONS
from market.money import SCALE, UNKNOWN
from market.predictions import Abstained
from market.records import Record
from market.scores import HORIZON_NAMES, Scores
from market.sessions import MINUTE

MOST_COMPOSITE = 5.0
"""The composite score goes from -5 to +5."""


WITHIN = tuple(name for name, minutes in HORIZONS.items() if minutes)
"""The horizons that end within a session."""


class Action(IntEnum):
    """What a signal says to do."""

    SELL = -1
    HOLD = 0
    BUY = 1


class Reason(IntEnum):
    """Why a signal was given."""

    ENTERED = 1
    """The strength reached `enter`."""
    REVERSED = 2
    """It reached `enter` on the other side."""
    RENEWED = 3
    """The horizon has passed, and it still holds."""
    WEAKENED = 4
    """The strength fell below `leave`."""
    ABSTAINED = 5
    """There is no prediction, or no score."""
    STALE = 6
    """Nothing was heard of the instrument for `stale_minutes`."""
    STOPPED = 7
    """The price reached the stop."""
    CLOSING = 8
    """The horizon would reach past the session's close."""
    NO_VOLATILITY = 9
    """The range is not known, so there is no stop."""


SCORED = np.dtype(
    [
        ("instrument", "<i4"),
        ("abstained", "u1"),
        ("padding", "u1", 3),
        ("at", "<i8"),
        ("ltp", "<i8"),
        ("prediction", "<f4"),
        ("confidence", "<f4"),
        ("low", "<f4"),
        ("high", "<f4"),
        ("composite", "<f4"),
        ("atr", "<f4"),
        ("version", "S48"),
    ]
)
"""What a signal rests on. `at` ns UTC of the decision; `ltp` the last price, money; `composite` -5 to 5; `atr` the mean
true range of one-minute candles as a fraction of the price; `version` of the model, ASCII; the rest as in `PREDICTION`.
"""

SIGNAL = np.dtype(
    [
        ("instrument", "<i4"),
        ("action", "i1"),
        ("reason", "u1"),
        ("abstained", "u1"),
        ("padding", "u1"),
        *((name, "<i8") for name in ("at", "expires", "price", "stop")),
        *(
            (name, "<f4")
            for name in ("size", "strength", "prediction", "confidence", "low", "high", "composite", "atr")
        ),
        ("horizon", "S8"),
        ("version", "S48"),
    ]
)
"""`price` and `stop` money; `size` a fraction of the capital; of a HOLD `expires` and `stop` are UNKNOWN, `size` 0.
Behind these what the signal knew, as in `SCORED`.
"""

_STATE = np.dtype([("action", "<i8"), *((name, "<i8") for name in ("changed", "seen", "expires", "stop", "price"))])

Scored = npt.NDArray[np.void]
Signals = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]

NO_SCORED: Scored = np.zeros(0, SCORED)
NO_SCORED.setflags(write=False)

NO_SIGNALS: Signals = np.zeros(0, SIGNAL)
NO_SIGNALS.setflags(write=False)


class Rules(Record):
    """What a machine goes by. `weight`: of the prediction in the strength; `stop_ranges`: the stop's distance in true
    ranges of the horizon; `risk`: the part of the capital that a stop may lose; `most`: the largest size.
    """

    horizon: str = Field(default="15m", description=f"one that ends within a session: {', '.join(WITHIN)}")
    weight: float = Field(default=0.75, ge=0, le=1, description="a number, 0 to 1")
    enter: float = Field(default=0.20, gt=0, le=1, description="a number above 0, up to 1")
    leave: float = Field(default=0.05, ge=0, lt=1, description="a number from 0 on, less than enter")
    dwell_minutes: int = Field(default=5, ge=1, le=375, description="a whole number, 1 to 375")
    stale_minutes: int = Field(default=3, ge=1, le=375, description="a whole number, 1 to 375")
    stop_ranges: float = Field(default=1.5, gt=0, le=10, description="a number above 0, up to 10")
    risk: float = Field(default=0.005, gt=0, le=0.1, description="a number above 0, up to 0.1")
    most: float = Field(default=0.10, gt=0, le=1, description="a number above 0, up to 1")

    @field_validator("horizon")
    @classmethod
    def _within(cls, horizon: str) -> str:
        if horizon not in WITHIN:
            raise ValueError(f"one that ends within a session: {', '.join(WITHIN)}")
        return horizon

    @model_validator(mode="after")
    def _in_order(self) -> Rules:
        if self.leave >= self.enter:
            raise ValueError(f"a leave, {self.leave}, that is less than enter, {self.enter}")
        return self

    @property
    def ahead(self) -> int:
        """ns from a decision to the end of its horizon."""
        return HORIZONS[self.horizon] * MINUTE


class SignalRecord(Record):
    """A signal as it crosses an edge. Prices in rupees, instants ns UTC; null is unknown, or does not apply to HOLD."""

    symbol: str
    at: int
    action: Literal["SELL", "HOLD", "BUY"]
    reason: str
    horizon: str
    expires: int | None
    price: float | None
    stop: float | None
    size: float
    strength: float | None
    prediction: float | None
    confidence: float | None
    low: float | None
    high: float | None
    composite: float | None
    atr: float | None
    abstained: str | None
    version: str


class SignalMachine:
    """The standing signals of instruments 0..count-1."""

    def __init__(self, count: int, sessions: npt.NDArray[np.int64], rules: Rules) -> None:
        """`sessions`: `Sessions.table()`."""
        self.rules = rules
        self._sessions = sessions
        self._state = np.zeros(count, _STATE)
        self.late = 0
        """Rows of a minute that was decided before: left out."""

    def step(self, rows: Scored) -> Signals:
        """Decide the minutes of `SCORED` rows, (n,), any order; the `SIGNAL` rows that are new, (k,), by minute.

        The result does not depend on how whole minutes are cut into calls. Raises BadValue: an instrument nobody knows.
        """
        who = rows["instrument"]
        if len(rows) and not 0 <= int(who.min()) <= int(who.max()) < len(self._state):
            raise BadValue("instrument", int(who.max()), f"0 to {len(self._state) - 1}")
        made = [self._minute(rows[rows["at"] == at], int(at)) for at in np.unique(rows["at"])]
        return np.concatenate(made) if made else NO_SIGNALS

    def standing(self) -> npt.NDArray[np.int64]:
        """The `Action` of each instrument, (count,)."""
        found: npt.NDArray[np.int64] = self._state["action"].copy()
        return found

    def snapshot(self) -> bytes:
        """What `restore` takes: everything that decides what comes next."""
        return self._state.tobytes()

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot. Raises BadPayload: it is of other instruments."""
        if len(data) != self._state.nbytes:
            raise BadPayload("signals", data, f"not a snapshot of {len(self._state)} instruments")
        self._state = np.frombuffer(data, _STATE).copy()

    def _minute(self, rows: Scored, at: int) -> Signals:
        fresh = rows["at"] > self._state["seen"][rows["instrument"]]
        self.late += int(len(rows) - fresh.sum())
        rows = rows[fresh]
        rows = rows[np.unique(rows["instrument"], return_index=True)[1]]
        silent = self._silent(rows["instrument"], at)
        return np.concatenate([self._decide(rows, at), silent])

    def _decide(self, rows: Scored, at: int) -> Signals:
        rules, who = self.rules, rows["instrument"]
        state = self._state[who]
        action, ltp = state["action"], rows["ltp"]
        strength = strengths(rows, rules.weight)
        distance = rules.stop_ranges * rows["atr"].astype(np.float64) * np.sqrt(HORIZONS[rules.horizon])
        ranged = np.isfinite(distance) & (distance > 0) & (distance < 1) & (ltp > 0)
        told = (rows["abstained"] == Abstained.NO) & np.isfinite(strength)
        rested = at - state["changed"] >= rules.dwell_minutes * MINUTE
        inside = np.full(len(rows), at + rules.ahead <= self._close(at))
        over = at >= state["expires"]
        wish = np.where(strength >= rules.enter, 1, np.where(strength <= -rules.enter, -1, 0))
        able = told & rested & inside & ranged & (wish != 0)
        stands = action != Action.HOLD
        hit = (ltp > 0) & np.where(action > 0, ltp <= state["stop"], ltp >= state["stop"])
        cases = (
            (stands & ~told, Action.HOLD, Reason.ABSTAINED),
            (stands & (at - state["seen"] > rules.stale_minutes * MINUTE), Action.HOLD, Reason.STALE),
            (stands & hit, Action.HOLD, Reason.STOPPED),
            (stands & over & ~inside, Action.HOLD, Reason.CLOSING),
            (stands & able & (wish == -action), wish, Reason.REVERSED),
            (stands & rested & (strength * action < rules.leave), Action.HOLD, Reason.WEAKENED),
            (stands & over & ~ranged, Action.HOLD, Reason.NO_VOLATILITY),
            (stands & over, action, Reason.RENEWED),
            (~stands & able, wish, Reason.ENTERED),
        )
        reason = np.select([case for case, _, _ in cases], [why for _, _, why in cases], 0)
        new = np.select(
            [case for case, _, _ in cases], [np.broadcast_to(what, len(rows)) for _, what, _ in cases], action
        )
        self._keep(who, at, ltp, new, reason, distance)
        told_now = reason != 0
        return self._signals(rows[told_now], new[told_now], reason[told_now], strength[told_now], distance[told_now])

    def _keep(
        self,
        who: npt.NDArray[np.int32],
        at: int,
        ltp: npt.NDArray[np.int64],
        new: npt.NDArray[np.int64],
        reason: npt.NDArray[np.int64],
        distance: Floats,
    ) -> None:
        state = self._state[who]
        changed = new != state["action"]
        begun = (reason != 0) & (new != Action.HOLD)
        state["changed"] = np.where(changed, at, state["changed"])
        state["expires"] = np.where(begun, at + self.rules.ahead, state["expires"])
        state["stop"] = np.where(begun, _stop(ltp, new, distance), state["stop"])
        state["action"], state["seen"], state["price"] = new, at, ltp
        self._state[who] = state

    def _silent(self, heard: npt.NDArray[np.int32], at: int) -> Signals:
        """HOLD for those of whom this minute says nothing, and none has for too long."""
        quiet = (self._state["action"] != Action.HOLD) & (at - self._state["seen"] > self.rules.stale_minutes * MINUTE)
        quiet[heard] = False
        who = np.flatnonzero(quiet)
        rows = np.zeros(len(who), SCORED)
        rows["instrument"], rows["at"], rows["ltp"] = who, at, self._state["price"][who]
        rows["abstained"] = Abstained.STALE
        for name in ("prediction", "confidence", "low", "high", "composite", "atr"):
            rows[name] = np.nan
        self._state["action"][who], self._state["changed"][who] = Action.HOLD, at
        none = np.full(len(who), np.nan)
        return self._signals(rows, np.zeros(len(who), np.int64), np.full(len(who), int(Reason.STALE)), none, none)

    def _signals(
        self,
        rows: Scored,
        action: npt.NDArray[np.int64],
        reason: npt.NDArray[np.int64],
        strength: Floats,
        distance: Floats,
    ) -> Signals:
        out = np.zeros(len(rows), SIGNAL)
        for name in ("instrument", "abstained", "at", "version", *_KNOWN):
            out[name] = rows[name]
        held = action == Action.HOLD
        out["action"], out["reason"], out["price"] = action, reason, rows["ltp"]
        out["expires"] = np.where(held, UNKNOWN, rows["at"] + self.rules.ahead)
        out["stop"] = np.where(held, UNKNOWN, _stop(rows["ltp"], action, distance))
        out["size"] = np.where(held, 0.0, sizes(rows["confidence"].astype(np.float64), distance, self.rules))
        out["strength"], out["horizon"] = strength, self.rules.horizon.encode()
        return out

    def _close(self, at: int) -> int:
        """The close of the session in which a minute ended; 0 outside of all."""
        place = int(np.searchsorted(self._sessions[:, 0], at, side="right")) - 1 if len(self._sessions) else -1
        return int(self._sessions[place, 3]) if place >= 0 else 0


_KNOWN = ("prediction", "confidence", "low", "high", "composite", "atr")


def scored(scores: Scores, horizon: str) -> Scored:
    """Of scorecards, `SCORE` rows, (n,), those for a horizon, as what a signal rests on."""
    rows = scores[scores["horizon"] == HORIZON_NAMES.index(horizon)]
    out = np.zeros(len(rows), SCORED)
    out["at"], out["ltp"] = rows["start"] + MINUTE, rows["close"]
    for name in ("instrument", "abstained", "version", *_KNOWN):
        out[name] = rows[name]
    return out


def strengths(rows: Scored, weight: float) -> Floats:
    """The strength, -1 to 1, of `SCORED` rows, (n,); NaN where the prediction or the score is not known."""
    edge = 2.0 * rows["prediction"].astype(np.float64) - 1.0
    found: Floats = weight * edge + (1.0 - weight) * rows["composite"].astype(np.float64) / MOST_COMPOSITE
    return found


def sizes(confidence: Floats, distance: Floats, rules: Rules) -> Floats:
    """The fraction of the capital, (n,): what loses `risk` times the confidence at the stop, at most `most`.

    `distance`: of the stop, as a fraction of the price.
    """
    safe = np.where(distance > 0, distance, np.inf)
    found: Floats = np.minimum(rules.risk * np.clip(confidence, 0.0, 1.0) / safe, rules.most)
    return found


def records(rows: Signals, symbols: Sequence[str]) -> list[SignalRecord]:
    """`SIGNAL` rows, (n,), as records, in their order; `symbols` by instrument."""
    return [_record(row, symbols) for row in rows]


def _record(row: np.void, symbols: Sequence[str]) -> SignalRecord:
    floats = ("size", "strength", *_KNOWN)
    known = {name: round(float(row[name]), 6) if np.isfinite(row[name]) else None for name in floats}
    whole = {name: None if row[name] == UNKNOWN else int(row[name]) for name in ("expires", "price", "stop")}
    prices = {name: None if (found := whole[name]) is None else found / SCALE for name in ("price", "stop")}
    return SignalRecord.model_validate(
        {
            **known,
            **prices,
            "symbol": symbols[int(row["instrument"])],
            "at": int(row["at"]),
            "expires": whole["expires"],
            "action": Action(int(row["action"])).name,
            "reason": Reason(int(row["reason"])).name,
            "abstained": Abstained(int(row["abstained"])).name if row["abstained"] else None,
            "horizon": row["horizon"].decode(),
            "version": row["version"].decode(),
        }
    )


def _stop(price: npt.NDArray[np.int64], action: npt.NDArray[np.int64], distance: Floats) -> npt.NDArray[np.int64]:
    away = np.where(np.isfinite(distance), distance, 0.0)
    found: npt.NDArray[np.int64] = np.rint(price * (1.0 - action * away)).astype(np.int64)
    return found
