"""Asking: one question to the predictor, within a time, by an actor that goes on without an answer.

A question runs in a thread of its own, so that nothing of the cluster can hold the asker longer than it said. After
`FAILURES` in a row the predictor is left alone, longer each time: a dead one costs a minute nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import structlog

from adapters.lines import Backoff
from market.models.examples import Examples
from market.predictions import Predictions
from market.scores import Asked

FAILURES = 2
REST_SECONDS = 5.0
LONGEST_REST = 60.0


class Answer(NamedTuple):
    """Predictions of all examples, in their order, and the version that made each."""

    predictions: Predictions
    versions: Sequence[str]


class Predictor(Protocol):
    """What answers."""

    def score(self, examples: Examples, horizons: Sequence[str]) -> Sequence[tuple[Predictions, Sequence[str]]]:
        """Of each horizon `PREDICTION` rows of (n,) examples, (n,), and the version that made each. May raise
        anything.
        """
        ...


class Asking:
    """Asks one predictor."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._log = structlog.get_logger()
        self._pauses = Backoff(REST_SECONDS, LONGEST_REST)
        self._failed, self._until = 0, 0.0
        self._working: threading.Thread | None = None
        self.trouble = ""
        """Why the last question had no answer."""

    def ask(self, examples: Examples, horizons: Sequence[str], seconds: float) -> list[Answer] | Asked:
        """An answer for each horizon within so many seconds, or why there is none."""
        if time.monotonic() < self._until or (self._working is not None and self._working.is_alive()):
            return Asked.RESTING
        came: list[list[Answer] | Exception] = []
        self._working = threading.Thread(target=self._work, args=(examples, horizons, came), daemon=True, name="ask")
        self._working.start()
        self._working.join(max(seconds, 0.0))
        answer = came[0] if came else TimeoutError(f"no answer within {seconds:.1f} s")
        if isinstance(answer, Exception):
            self._fail(answer)
            return Asked.SLOW if isinstance(answer, TimeoutError) else Asked.DOWN
        self._failed, self.trouble = 0, ""
        self._pauses.reset()
        return answer

    def _work(self, examples: Examples, horizons: Sequence[str], came: list[list[Answer] | Exception]) -> None:
        try:
            came.append([Answer(*one) for one in self._predictor.score(examples, horizons)])
        except Exception as e:  # whatever the other side, or the cluster between, thinks of
            came.append(e)

    def _fail(self, why: Exception) -> None:
        self._failed += 1
        self.trouble = f"{type(why).__name__}: {why}".splitlines()[0][:200]
        if self._failed >= FAILURES:
            self._until = time.monotonic() + self._pauses.pause()
        self._log.warning("predictor_without_answer", reason=self.trouble, failed=self._failed)


class Served:
    """The deployment `Predictor` of a Serve application."""

    def __init__(self, application: str, timeout: float) -> None:
        self._application, self._timeout = application, timeout
        self._handle: Any = None
        threading.Thread(target=self._connect, daemon=True, name="connect").start()

    def score(self, examples: Examples, horizons: Sequence[str]) -> Sequence[tuple[Predictions, Sequence[str]]]:
        """As `Predictor.score`. Raises TimeoutError and whatever Serve raises."""
        if self._handle is None:
            self._handle = _handle(self._application)
        found: list[tuple[Predictions, list[str]]]
        found = self._handle.score.remote(examples, horizons).result(timeout_s=self._timeout)
        return found

    def _connect(self) -> None:
        """Before the first question: loading Serve alone takes longer than a question may."""
        try:
            self._handle = _handle(self._application)
        except Exception as e:  # it may be deployed after us: the first question tries again
            structlog.get_logger().info("predictor_not_there", application=self._application, reason=str(e)[:200])


def _handle(application: str) -> Any:
    from ray import serve  # here: an Analysis without a predictor must not load Serve

    return serve.get_deployment_handle("Predictor", application)
