"""Scoring: from the features of closed minutes, when they are on the bus, to a scorecard each.

A shard's minutes are put to the predictor in one call for all its instruments and horizons, and what comes of them is
written under the ids of the entries they follow from. A restart may hear another prediction: what was written first
stands. Without an answer a scorecard says so, and nothing waits for more than the plan's `ask_seconds`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import structlog

from actors.asking import Answer, Asking, Predictor, Served
from actors.measures import Counts, milliseconds
from actors.plans import AnalysisPlan
from adapters import entries
from adapters.bus import SEQUENCE_BITS, Bus, EntryId
from adapters.readmodel import ReadModel
from market.errors import LineDown
from market.features import NAMES, FeatureRows, Window
from market.models.examples import Examples, Floats, Floats32
from market.readings import readings
from market.scores import HORIZON_NAMES, Asked, Scores, answers, scored, with_prediction, without_prediction
from market.sessions import MINUTE

TOPIC = "scores"
SHOW_SECONDS = 0.5
"""So long the read model may take to be told what models see; scorecards wait no longer for it."""
COUNTS = ("rows", "again", "abstained", "without", "slow", "down", "resting", "strange")
MOST_ASKED = 4096
"""Examples in one question: what is made up for after a pause comes in several."""

_WHY = {Asked.SLOW: "slow", Asked.DOWN: "down", Asked.RESTING: "resting"}


class Due(NamedTuple):
    """A minute of a partition that is to be scored: the entry it follows from, its features and what the window knew:
    the sequences, the newest closes, and those of the session before.
    """

    partition: int
    entry: EntryId
    made: FeatureRows
    sequence: Floats32
    closes: Floats
    previous: Floats


class Scoring:
    """The scorecards of one Analysis. `predictor`: that of the plan unless given."""

    def __init__(self, plan: AnalysisPlan, bus: Bus, predictor: Predictor | None = None) -> None:
        self._bus, self._horizons = bus, plan.horizons
        self._model = ReadModel(plan.cache, timeout=SHOW_SECONDS)
        self._symbols = [i.symbol for i in plan.instruments]
        self._shown = np.zeros(len(plan.instruments), np.int64)
        self._log = structlog.get_logger()
        if predictor is None and plan.predictor:
            predictor = Served(plan.predictor, plan.ask_seconds)
        self._seconds = plan.ask_seconds
        self._asking = None if predictor is None else Asking(predictor)
        self._due: list[Due] = []
        self.versions: list[str] = []
        """Those that answered last."""
        self.counts = dict.fromkeys(COUNTS, 0)
        self._tags = {"partitions": "-".join(map(str, plan.mine))}
        self._counters = Counts("bourse_scores", COUNTS, self._tags)
        self._close_ms = milliseconds(
            "bourse_scores_closing_ms", "from the mark that closed a minute to its scorecards, on the bus", "partitions"
        )
        self._ask_ms = milliseconds("bourse_scores_asking_ms", "one question to the predictor", "partitions")
        self._closing: deque[float] = deque(maxlen=4096)
        self._asked: deque[float] = deque(maxlen=4096)

    def add(self, partition: int, entry: EntryId, window: Window, made: FeatureRows) -> None:
        """Take a minute that the window has just made: later it no longer knows what stood there."""
        if not len(made):
            return
        known = window.sequences(made), window.closes(made), window.previous(made)
        self._due.append(Due(partition, entry, made, *known))

    def forget(self, partition: int) -> None:
        """Drop what is due of a partition: its minutes come again."""
        self._due = [due for due in self._due if due.partition != partition]

    def publish(self, done: dict[int, EntryId], live_after: EntryId) -> tuple[Examples, Scores] | None:
        """Score and write the minutes of each partition up to an entry; what a model saw in them and the scorecards for
        the first horizon, None where none were due.

        `live_after`: entries up to this one are made up for. Raises LineDown; what was not written is due again.
        """
        ready = [due for due in self._due if due.entry <= done.get(due.partition, -1)]
        if not ready:
            return None
        seen = _examples(ready)
        self._show(seen)
        written = [self._score(part) for part in _parts(ready)]
        for outputs in written:
            self._write(outputs, live_after)
        self._due = [due for due in self._due if due.entry > done.get(due.partition, -1)]
        self._counters.set(**self.counts)
        return seen, np.concatenate([scores[0] for outputs in written for _, scores in outputs])

    def health(self) -> dict[str, Any]:
        """Counts, the versions that answered last, why one did not, and times in ms."""
        return {
            **self.counts,
            "versions": self.versions,
            "trouble": self._asking.trouble if self._asking else "",
            "closing_ms": percentiles(self._closing),
            "asking_ms": percentiles(self._asked),
        }

    def _show(self, seen: Examples) -> None:
        """Put what models see of each instrument's newest minute into the read model before anybody is asked: a graph
        that answers another Analysis looks for it there. What is older than is shown stays out.
        """
        order = np.lexsort((seen.at, seen.instrument))
        newest = order[np.append(np.diff(seen.instrument[order]) != 0, True)]
        newest = newest[seen.at[newest] >= self._shown[seen.instrument[newest]]]
        mine = seen.take(newest)
        self._shown[mine.instrument] = mine.at
        try:
            self._model.inputs([self._symbols[i] for i in mine.instrument.tolist()], mine)
        except LineDown as e:
            self._log.warning("cache_down", reason=e.reason)

    def _score(self, due: Sequence[Due]) -> list[tuple[Due, list[Scores]]]:
        """The scorecards of some minutes, by one question for all horizons."""
        found: list[tuple[Due, list[Scores]]] = [(one, []) for one in due]
        cuts = np.cumsum([len(one.made) for one in due])[:-1]
        first = np.concatenate([_scored(one, self._horizons[0]) for one in due])
        of = [first, *(_of_horizon(first, horizon) for horizon in self._horizons[1:])]
        for scores in self._answered(of, _examples(due)):
            for (_, mine), part in zip(found, np.split(scores, cuts), strict=True):
                mine.append(part)
        return found

    def _answered(self, of: Sequence[Scores], examples: Examples) -> list[Scores]:
        """The scorecards, by horizon, with what the predictor says, or why it says nothing."""
        if self._asking is None:
            return [without_prediction(scores, Asked.NOT_CONFIGURED) for scores in of]
        began = time.monotonic()
        answer = self._asking.ask(examples, self._horizons, self._seconds)
        if answer is not Asked.RESTING:
            self._asked.append((time.monotonic() - began) * 1000)
            self._ask_ms.observe(self._asked[-1], tags=self._tags)
        if isinstance(answer, list) and len(answer) == len(of) and all(map(_answers, of, answer)):
            self.versions = sorted({version for one in answer for version in one.versions})
            return [with_prediction(scores, *one) for scores, one in zip(of, answer, strict=True)]
        if isinstance(answer, list):
            self.counts["strange"] += 1
            got = [len(one.predictions) for one in answer]
            self._log.error("predictor_answered_something_else", asked=[len(scores) for scores in of], got=got)
            answer = Asked.DOWN
        self.counts[_WHY[answer]] += 1
        return [without_prediction(scores, answer) for scores in of]

    def _write(self, outputs: list[tuple[Due, list[Scores]]], live_after: EntryId) -> None:
        """One entry for all minutes, instruments and horizons that follow from one."""
        by_entry: dict[tuple[int, EntryId], list[Scores]] = {}
        now = time.time()
        for due, scores in outputs:
            if due.entry > live_after:
                for one in scores:
                    one["latency"] = (now - (due.entry >> SEQUENCE_BITS) / 1000) * 1000
            by_entry.setdefault((due.partition, due.entry), []).extend(scores)
        told = [(p, entry, np.concatenate(scores)) for (p, entry), scores in by_entry.items()]
        new = self._bus.write_all(TOPIC, [(p, entry, entries.encode(rows)) for p, entry, rows in told])
        now = time.time()
        for (_, entry, rows), written in zip(told, new, strict=True):
            self.counts["rows" if written else "again"] += len(rows)
            self.counts["without"] += int(np.count_nonzero(rows["asked"])) if written else 0
            self.counts["abstained"] += int(np.count_nonzero(rows["abstained"] * (rows["asked"] == 0))) * written
            if written and entry > live_after:
                self._closing.append((now - (entry >> SEQUENCE_BITS) / 1000) * 1000)
                self._close_ms.observe(self._closing[-1], tags=self._tags)


def percentiles(values: deque[float]) -> dict[str, float]:
    """How many times in ms, their median and their 99th percentile."""
    p50, p99 = np.percentile(list(values) or [0.0], (50, 99)).round(2).tolist()
    return {"count": len(values), "p50": p50, "p99": p99}


def _parts(due: Sequence[Due]) -> list[list[Due]]:
    """Runs of minutes with at most MOST_ASKED rows, an entry's in one."""
    parts: list[list[Due]] = [[]]
    rows = 0
    for one in due:
        last = parts[-1][-1] if parts[-1] else None
        same = last is not None and (last.partition, last.entry) == (one.partition, one.entry)
        if rows + len(one.made) > MOST_ASKED and last is not None and not same:
            parts.append([])
            rows = 0
        parts[-1].append(one)
        rows += len(one.made)
    return parts


def _scored(due: Due, horizon: str) -> Scores:
    """Without a prediction."""
    prices = due.closes[:, -1], due.previous
    return scored(due.made, NAMES, readings(due.closes), prices, horizon)


def _of_horizon(first: Scores, horizon: str) -> Scores:
    """The same minutes for another horizon."""
    scores = first.copy()
    scores["horizon"] = HORIZON_NAMES.index(horizon)
    return scores


def _answers(scores: Scores, answer: Answer) -> bool:
    return answers(scores, *answer)


def _examples(due: Sequence[Due]) -> Examples:
    made = np.concatenate([one.made for one in due])
    return Examples(
        NAMES,
        made["values"].astype(np.float32),
        np.concatenate([one.sequence for one in due]),
        made["instrument"].astype(np.int32),
        made["start"].astype(np.int64) + MINUTE,
        made["session"].astype(np.int32),
    )
