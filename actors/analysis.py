"""Analysis: features and scorecards of each closed minute, from the candles of all partitions for the instruments of
some.

Exactly once: what a minute comes to is written under the id of the candle entry, of the same partition, that closed it,
so whatever is computed again after a restart is refused by the bus as known. It depends on the logs up to that minute
(`market.closings` says how far), and on a basis: a version of the lake, chosen when a session's first minute is due and
kept before anything follows from it. So at each session's open, after every loss and after a kill -9 the windows are
made in one way: the lake's candles as of the basis, then the bus's behind it. A basis of a log that went back, or that
the lake has forgotten, is replaced by a new one.

Features are published first; the scorecards (`actors.scoring`) follow from them under the same ids, and a minute is
done when both are on the bus.
"""

from __future__ import annotations

import os
import time
from collections import deque
from datetime import date
from typing import Any

import numpy as np
import structlog

from actors.asking import Predictor
from actors.history import Basis, History
from actors.measures import Counts, milliseconds, resident_bytes
from actors.plans import AnalysisPlan, ids
from actors.scoring import TOPIC as SCORES
from actors.scoring import Scoring, percentiles
from adapters import entries, logs
from adapters.bus import SEQUENCE_BITS, START, Bus, EntryId, Lease
from adapters.lines import Backoff
from adapters.readmodel import ReadModel
from market.candles import CANDLE, NO_CANDLES, Candles
from market.closings import Closings, Step
from market.errors import LeaseLost, LineDown, LogWentBack
from market.features import FeatureRows, Window, members_of, without_market
from market.instruments import Universe
from market.models.examples import Examples
from market.scores import Scores
from market.sessions import MINUTE, Sessions

READER = "analysis"
TOPIC = "analysis"
READ_ENTRIES = 64
BLOCK_SECONDS = 0.2
MOST_OUTPUTS = 16
SHOWN_SECONDS = 1.0
COUNTS = ("rows", "minutes", "again", "unknown", "late", "given_up", "outdated")

Output = tuple[EntryId, FeatureRows]
"""The entry it follows from, and the rows it came to."""


class Partition:
    """One partition's windows, what they start from, and what of the logs is not done yet.

    `done`: the entry up to which everything was published before; `read`: how far each log was read.
    """

    def __init__(self, number: int, basis: Basis, done: EntryId, window: Window, closings: Closings) -> None:
        self.number, self.basis, self.done = number, basis, done
        self.window, self.closings = window, closings
        self.read = list(basis.cursors)
        self.before: list[Candles] = []
        """Of minutes that were published before: they only make the window."""
        self.made: list[FeatureRows] = []
        """What the minutes of the entry under way came to."""
        self.unscored: tuple[EntryId, FeatureRows] | None = None
        """The newest minute, of which the window has not been asked yet what its scorecards need."""
        self.opening: Step | None = None
        """The first minute of a session that waits until what was before it is published."""
        self.market_time = 0
        self.counts = dict.fromkeys(COUNTS, 0)

    def health(self) -> dict[str, Any]:
        """How far it is, what it waits for, and how many rows met which rule."""
        waits = {"waiting": self.closings.waiting, "waits_for": self.closings.waits_for}
        said = {"read": self.read[self.number], "late": self.closings.late, "outdated": len(self.window.outdated)}
        return {"cursor": self.done, "market_time": self.market_time, **self.counts, **said, **waits,
                "lake_version": self.basis.version}  # fmt: skip


class Analysis:
    """Reads, computes, writes; decides nothing itself."""

    def __init__(self, plan: AnalysisPlan, predictor: Predictor | None = None) -> None:
        """`predictor`: who is asked, that of the plan unless given."""
        name = "-".join(map(str, plan.mine))
        logs.configure(f"analysis/{name}", plan.log_level)
        self._plan = plan
        self._log = structlog.get_logger()
        self._bus = Bus(plan.bus)
        self._model = ReadModel(plan.cache)
        self._symbols = [i.symbol for i in plan.instruments]
        universe = Universe(plan.instruments)
        self._members = {p: ids(universe.partition(p, plan.partitions)) for p in range(plan.partitions)}
        self._groups = members_of(plan.instruments)
        self._sessions = Sessions(plan.sessions).table()
        self._history = History(plan, self._bus)
        self._scoring = Scoring(plan, self._bus, predictor)
        self._parts: dict[int, Partition] = {}
        self._leases: dict[int, Lease] = {}
        self._live_after: EntryId = START
        self._anew = self._stopped = False
        self._trouble = ""
        self._renewed = self._counted = 0.0
        self._shown = np.zeros(len(plan.instruments), np.int64)
        self._tags = {"partitions": name}
        self._counts = Counts("bourse_analysis", COUNTS, self._tags)
        self._step_ms = milliseconds("bourse_analysis_step_ms", "one minute's features of one partition", "partitions")
        self._close_ms = milliseconds(
            "bourse_analysis_closing_ms", "from the mark that closed a minute to its features, on the bus", "partitions"
        )
        self._closing: deque[float] = deque(maxlen=4096)
        self._working: deque[float] = deque(maxlen=4096)

    def run(self) -> None:
        """Read, compute, write, until told to stop. Raises LeaseLost when another owner took over."""
        pauses = Backoff()
        while not self._stopped:
            try:
                self._own()
                pauses.reset()
                while not self._stopped:
                    self._turn()
            except LogWentBack as e:
                self._trouble, self._anew = str(e), True
                self._log.error("log_went_back", stream=e.stream, cursor=e.cursor, last=e.last)
                time.sleep(pauses.pause())
            except LineDown as e:
                self._trouble = str(e)
                self._log.warning("store_down", line=e.line, reason=e.reason)
                time.sleep(pauses.pause())
        for lease in self._leases.values():
            lease.release()

    def stop(self) -> None:
        """End `run` after the read under way."""
        self._stopped = True

    def health(self) -> dict[str, Any]:
        """What `status` shows of this actor. `closing_ms`: from the mark that closed a minute to its features, both on
        the bus; `features_ms`: the part of it since its candles were read.
        """
        parts = list(self._parts.values())
        return {
            "part": "analysis",
            "name": "-".join(map(str, self._plan.mine)),
            "pid": os.getpid(),
            "resident": resident_bytes(),
            "trouble": self._trouble,
            "closing_ms": percentiles(self._closing),
            "features_ms": percentiles(self._working),
            "scores": self._scoring.health(),
            "market_time": min((p.market_time for p in parts), default=0),
            "partitions": {str(p.number): p.health() for p in parts},
        }

    def _own(self) -> None:
        """Take the partitions over from whoever had them: lease, basis, windows."""
        self._parts = {}
        for number in self._plan.mine:
            self._take_lease(number)
        self._parts = {number: self._begin(number) for number in self._plan.mine if not self._stopped}
        self._anew = False
        self._live_after = max((self._bus.last("candles", q) for q in self._members), default=START)
        self._trouble = ""

    def _take_lease(self, number: int) -> None:
        """Wait while another owner holds it; one that died holds it until it runs out."""
        while number not in self._leases and not self._stopped:
            try:
                self._leases[number] = self._bus.lease(f"{READER}:{{{number}}}", self._plan.lease_seconds)
            except LeaseLost:
                self._trouble = f"partition {number} is held by another owner"
                time.sleep(self._plan.lease_seconds / 20)

    def _begin(self, number: int) -> Partition:
        kept = None if self._anew else self._bus.load(READER, number)
        if kept is None:
            basis = self._history.newest()
            opening = self._opening(number) if self._bus.last(TOPIC, number) == START else None
            if opening is not None and basis.cursors[number] >= opening:
                basis = self._history.within(number, opening, basis.session)
            self._keep(number, basis)
        else:
            basis = Basis.model_validate_json(kept[1])
        for q, cursor in enumerate(basis.cursors):
            self._bus.check("candles", q, cursor)
        self._scoring.forget(number)
        published = min(self._bus.last(topic, number) for topic in (TOPIC, SCORES))
        done = max(published, basis.cursors[number])
        if not self._history.holds(basis):
            self._log.error("basis_gone", partition=number, version=basis.version)
            basis = self._history.within(number, done + 1, basis.session)
            self._keep(number, basis)
        return self._start(number, basis, done)

    def _opening(self, number: int) -> EntryId | None:
        """The entry with which the newest session on the bus begins, as far as the bus has it; None: there is none.

        Whoever is the first to begin here begins there, though the lake has more already: those minutes are owed too.
        """
        opening, newest = None, -1
        for entry in self._bus.backwards("candles", number):
            rows = entries.decode(entry.payload, CANDLE)
            days = rows["session"][rows["revision"] == 0]  # a correction may be of any session
            if len(days) and int(days.max()) < newest:
                break
            if len(days):
                opening, newest = entry.id, int(days.max())
        return opening

    def _start(self, number: int, basis: Basis, done: EntryId) -> Partition:
        """The windows as of a basis; what the bus holds behind it comes with the next reads."""
        began = time.monotonic()
        window = Window(self._members[number], self._groups, self._sessions)
        others = [q for q, members in self._members.items() if members]
        closings = Closings(number, others, self._plan.patience, basis.given_up)
        part = Partition(number, basis, done, window, closings)
        if basis.session >= 0:
            until = date.fromordinal(date(1970, 1, 1).toordinal() + basis.session)
            for one, before, price, volume in self._history.adjustments(basis.session):
                window.adjust(one, price, before, volume)
            window.warm(NO_CANDLES, self._history.daily(basis, number, until))
            for minutes in self._history.older(basis, number, until):
                window.warm(minutes, NO_CANDLES)
                self._renew()
            recent = self._history.recent(basis, number, until)
            window.warm(recent.minutes, NO_CANDLES)
            part.market_time = recent.after + MINUTE if recent.after else 0
            for q, rows in recent.pending.items():
                closings.add(q, START, rows)
        self._renew()
        took = round(time.monotonic() - began, 3)
        self._log.info("partition_owned", partition=number, done=done, took=took, **basis.model_dump(mode="json"))
        return part

    def _turn(self) -> None:
        """One read over all partitions, and what is due by the clock."""
        began = time.monotonic()
        parts = list(self._parts.values())
        after = {q: min(part.read[q] for part in parts) for q in self._members}
        read = self._bus.read("candles", after, count=READ_ENTRIES, block=BLOCK_SECONDS)
        came = time.time()
        for entry in read:
            rows = entries.decode(entry.payload, CANDLE)
            for part in parts:
                if entry.id > part.read[entry.partition]:
                    part.closings.add(entry.partition, entry.id, rows)
                    part.read[entry.partition] = entry.id
        made: list[FeatureRows] = []
        for number in self._parts:
            while outputs := self._work(self._parts[number]):
                self._publish(self._parts[number], outputs, came)
                made += [rows for _, rows in outputs]
        if made:
            scored = self._score()
            self._show(np.concatenate(made), scored)  # when everything is on the bus: nobody waits for it
        if began - self._renewed > self._plan.lease_seconds / 3:
            self._renew()
        if began - self._counted > SHOWN_SECONDS:
            told = [part.health() for part in self._parts.values()]
            self._counts.set(**{name: sum(one[name] for one in told) for name in COUNTS})
            self._counted = began

    def _work(self, part: Partition) -> list[Output]:
        """What is due of a partition, a bounded part of it at once."""
        outputs: list[Output] = []
        if part.opening is not None:
            self._open_session(part, part.opening)
            return outputs
        while len(outputs) < MOST_OUTPUTS and (step := part.closings.next()) is not None:
            if step.session > part.basis.session:
                part.opening = step
                break
            if step.missing and step.start not in part.basis.given_up:
                self._give_up(part, step)
            part.market_time = step.start + MINUTE
            if step.entry <= part.done:
                part.before.append(step.rows)
                continue
            part.made.append(self._features(part, step))
            if step.ends:
                outputs.append((step.entry, np.concatenate(part.made)))
                part.made = []
        if part.opening is not None and not outputs:
            self._open_session(part, part.opening)
        return outputs

    def _features(self, part: Partition, step: Step) -> FeatureRows:
        self._measure(part)
        if part.before:
            part.window.warm(np.concatenate(part.before), np.concatenate(part.before))
            part.before = []
        began = time.monotonic()
        rows = part.window.step(step.rows)
        self._step_ms.observe((time.monotonic() - began) * 1000, tags=self._tags)
        part.counts["minutes"] += 1
        rows = without_market(rows) if step.missing else rows
        part.unscored = step.entry, rows
        return rows

    def _measure(self, part: Partition) -> None:
        """What the newest minute's scorecards need of the window, before it goes on; behind its features if it can."""
        if part.unscored is not None:
            entry, rows = part.unscored
            self._scoring.add(part.number, entry, part.window, rows)
            part.unscored = None

    def _score(self) -> tuple[Examples, Scores] | None:
        """Write the scorecards of what is published; what a model saw in them, and they."""
        for part in self._parts.values():
            self._measure(part)
        return self._scoring.publish({p.number: p.done for p in self._parts.values()}, self._live_after)

    def _open_session(self, part: Partition, step: Step) -> None:
        """Choose a session's basis, keep it, and go back to it: the minute that was due comes again.

        What came before is scored first: behind the new basis nobody would make up for it.
        """
        self._score()
        self._scoring.forget(part.number)
        basis = self._history.within(part.number, step.entry, step.session)
        part.closings.forget(step.start)
        basis = basis.model_copy(update={"given_up": dict(part.closings.given_up)})
        self._keep(part.number, basis)
        self._parts[part.number] = fresh = self._start(part.number, basis, max(part.done, basis.cursors[part.number]))
        fresh.counts = part.counts

    def _give_up(self, part: Partition, step: Step) -> None:
        part.basis = part.basis.model_copy(update={"given_up": dict(part.closings.given_up)})
        self._keep(part.number, part.basis)
        part.counts["given_up"] += 1
        self._log.error("minute_not_waited_for", partition=part.number, start=step.start, without=step.missing)

    def _keep(self, number: int, basis: Basis) -> None:
        """Before anything follows from it. The cursor stands where a successor must be able to read the bus."""
        if not self._bus.save(READER, number, basis.cursors[number], basis.model_dump_json().encode()):
            self._log.warning("basis_not_kept", partition=number, reason="that of a newer log is kept")

    def _publish(self, part: Partition, outputs: list[Output], came: float) -> None:
        """Write what each entry came to, if anything, under its id."""
        told = [(entry, rows) for entry, rows in outputs if len(rows)]
        new = self._bus.write_all(TOPIC, [(part.number, entry, entries.encode(rows)) for entry, rows in told])
        now = time.time()
        for (entry, rows), written in zip(told, new, strict=True):
            part.counts["rows" if written else "again"] += len(rows)
            part.counts["unknown"] += int(np.count_nonzero(rows["unknown"])) if written else 0
            if entry > self._live_after:
                self._closing.append((now - (entry >> SEQUENCE_BITS) / 1000) * 1000)
                self._working.append((now - came) * 1000)
                self._close_ms.observe(self._closing[-1], tags=self._tags)
        part.done = outputs[-1][0]

    def _show(self, rows: FeatureRows, scored: tuple[Examples, Scores] | None) -> None:
        """The read model's latest rows and scorecards; those of an older minute than is shown stay out."""
        order = np.lexsort((rows["start"], rows["instrument"]))
        rows = rows[order[np.append(np.diff(rows["instrument"][order]) != 0, True)]]
        rows = rows[rows["start"] >= self._shown[rows["instrument"]]]
        self._shown[rows["instrument"]] = rows["start"]
        try:
            self._model.features([self._symbols[i] for i in rows["instrument"].tolist()], rows)
            if scored is not None:
                newest = scored[0].at == self._shown[scored[0].instrument] + MINUTE
                seen, scores = scored[0].take(newest), scored[1][newest]
                self._model.results([self._symbols[i] for i in seen.instrument.tolist()], scores)
        except LineDown as e:
            self._log.warning("cache_down", reason=e.reason)

    def _renew(self) -> None:
        for lease in self._leases.values():
            lease.renew()
        self._renewed = time.monotonic()
