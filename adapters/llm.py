"""Language models as engines: asked over HTTP, within one deadline, one day's budget and one fuse.

Nobody is asked twice but for a reason: the vendor said that it may be asked again, and there is time left, or what it
answered was no opinion, once. Neither the key nor what was asked is in any error; nothing is logged here.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from pydantic import SecretStr

from adapters.fetching import Door, Page
from adapters.spending import DayBudget, Place, Spending, amount
from market.codecs import Call
from market.engines import Answer, Engine, EngineCodec, Opinion, Question, Reply, Usage, opinion, question
from market.errors import AuthRequired, BadPayload, BourseError, LineDown, NotYet, OutcomeUnknown
from market.fuse import Fuse
from market.records import Record
from market.vendors.anthropic import Anthropic
from market.vendors.ollama import Ollama
from market.vendors.openai import OpenAI

CODECS: dict[str, EngineCodec] = {"openai": OpenAI(), "anthropic": Anthropic(), "ollama": Ollama()}

TRIES = 3
FIRST_PAUSE = 0.25
"""Seconds before a second try where the vendor names none; doubled before the third."""
LARGEST = 1 << 20
"""Bytes of an answer."""
SOON = 5.0
"""Seconds after which to look again whether a model is loaded."""


class EnginePlan(Record):
    """What an engine is made of, in whichever process. `root`: where it answers; `bus`: the Redis of its budget."""

    name: str
    engine: Engine
    key: SecretStr = SecretStr("")
    root: str
    bus: str


class Llm:
    """One engine, of one event loop. `counts`: asked, answered, tried again, repaired, unsettled, and each error."""

    def __init__(
        self,
        plan: EnginePlan,
        spending: Spending | None = None,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`spending`: None for the budget on the plan's bus; `wait` and `clock` in seconds. Opens nothing yet."""
        self.name, self.engine = plan.name, plan.engine
        self.counts: Counter[str] = Counter()
        self._codec = CODECS[plan.engine.kind]
        self._key = plan.key if plan.engine.send_key else SecretStr("")
        self._root = plan.root.rstrip("/")
        self._spending = spending if spending is not None else DayBudget(plan.bus, plan.name)
        self._wait, self._clock = wait, clock
        self._door = Door()
        self._fuse = Fuse(plan.name, 2 * plan.engine.timeout_seconds)
        self._loading: asyncio.Task[None] | None = None
        self._settling: set[asyncio.Task[None]] = set()

    async def ask(self, asked: Question, now: int) -> Answer:
        """The opinion, within the engine's `timeout_seconds`. `now`: ns UTC of the decision.

        Raises BudgetSpent, NotYet (the model is being loaded), LineDown, AuthRequired, Rejected, BadPayload (it gave
        none).
        """
        began = self._clock()
        self.counts["asked"] += 1
        try:
            self._check(began)
            await self._loaded(began + self.engine.timeout_seconds)
            tally = _Tally()
            said, model = await self._within(began, self._opinion(asked, tally, began))
        except BourseError as e:
            self.counts[type(e).__name__] += 1
            raise
        self.counts["answered"] += 1
        return Answer(
            engine=self.name,
            symbol=asked.symbol,
            horizon=asked.horizon,
            at=now,
            opinion=said,
            model_version=model or self.engine.model,
            tokens_in=tally.tokens_in,
            tokens_out=tally.tokens_out,
            cost=amount(tally.cost),
            currency=self.engine.currency,
            seconds=self._clock() - began,
            calls=tally.calls,
        )

    async def ready(self) -> None:
        """Open the door, and wait until the model is loaded, at most `load_seconds`, where one is. Raises as `ask`."""
        self._check(self._clock())
        await self._door.open()
        await self._loaded(self._clock() + self.engine.load_seconds)

    async def close(self) -> None:
        """Ask no more; give back what was not used; close the connections."""
        await asyncio.gather(*self._settling)
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
        await self._door.close()

    def _check(self, now: float) -> None:
        key = self._key.get_secret_value()
        if self._codec.keyed and self.engine.send_key and not key:
            raise AuthRequired(self.name, f"put its key in {self._codec.name.upper()}_API_KEY and start again")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise AuthRequired(self.name, f"{self._codec.name.upper()}_API_KEY is not a key: it has blanks or letters")
        self._fuse.check(now)

    async def _within(self, began: float, work: Awaitable[tuple[Opinion, str]]) -> tuple[Opinion, str]:
        left = self.engine.timeout_seconds - (self._clock() - began)
        try:
            async with asyncio.timeout(left):
                return await work
        except TimeoutError:
            self._loading = None  # it may have been unloaded
            down = OutcomeUnknown(self.name, f"no answer within {self.engine.timeout_seconds:g} s")
            self._fuse.failed(down, self._clock())
            raise down from None

    async def _opinion(self, asked: Question, tally: _Tally, began: float) -> tuple[Opinion, str]:
        """With the model that gave it; one that is none is asked for once more, with what was wrong with it."""
        reply = await self._reply(asked, "", tally, began)
        try:
            return opinion(self.name, reply), reply.model
        except BadPayload as e:
            if reply.fault:
                raise
            self.counts["repaired"] += 1
            complaint = f"Your answer could not be used: {e.reason}. Answer again, with nothing but what was asked for."
        reply = await self._reply(asked, complaint, tally, began)
        return opinion(self.name, reply), reply.model

    async def _reply(self, asked: Question, complaint: str, tally: _Tally, began: float) -> Reply:
        call = self._codec.call(self._root, self._key, self.engine, asked, complaint)
        for tried in range(1, TRIES + 1):
            page, place = await self._sent(call, tally)
            try:
                reply = self._codec.read(page.status, page.headers, page.body)
            except BourseError as e:
                if page.status >= 300:
                    self._settle(place, Usage(0, 0), tally)
                pause = (e.after if isinstance(e, LineDown) else 0.0) or FIRST_PAUSE * 2 ** (tried - 1)
                left = self.engine.timeout_seconds - (self._clock() - began)
                allowed = isinstance(e, LineDown) and self._codec.again(page.status, page.headers)
                if not allowed or tried == TRIES or pause >= left:
                    self._fuse.failed(e, self._clock())
                    raise
                self.counts["tried again"] += 1
                await self._wait(pause)
                continue
            self._fuse.well()
            if reply.usage is not None:
                self._settle(place, reply.usage, tally)
            return reply
        raise AssertionError("the last try returns or raises")

    async def _sent(self, call: Call, tally: _Tally) -> tuple[Page, Place]:
        content = call.content or b""
        most = Usage(len(content), self.engine.max_tokens)  # no token is shorter than a byte
        place = await asyncio.to_thread(self._spending.take, self.engine, sum(most), self.engine.cost(most))
        tally.add(most, place.cost)
        try:
            return await self._door.post(call.url, call.headers, content, LARGEST), place
        except LineDown as e:
            if not isinstance(e, OutcomeUnknown):
                self._settle(place, Usage(0, 0), tally)
            self._fuse.failed(e, self._clock())
            raise

    def _settle(self, place: Place, usage: Usage, tally: _Tally) -> None:
        cost = self.engine.cost(usage)
        tally.settle(usage, place, cost)
        task = asyncio.create_task(self._give_back(place, sum(usage), cost))  # the answer does not wait for it
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _give_back(self, place: Place, tokens: int, cost: int) -> None:
        try:
            await asyncio.to_thread(self._spending.settle, place, tokens, cost)
        except LineDown:
            self.counts["unsettled"] += 1  # the place stays taken: more is counted than was spent, never less

    async def _loaded(self, until: float) -> None:
        call = self._codec.load(self._root, self._key, self.engine)
        if call is None:
            return
        if self._loading is None or (self._loading.done() and self._failed(self._loading)):
            self._loading = asyncio.create_task(self._load(call))
        done, _ = await asyncio.wait({self._loading}, timeout=max(until - self._clock(), 0.0))
        if not done:
            words = f"{self.engine.model} is being loaded, for at most {self.engine.load_seconds:g} s; ask again"
            raise NotYet(self.name, words, SOON)
        self._loading.result()

    async def _load(self, call: Call) -> None:
        """Goes on when those who asked have gone: a request that is given up ends the loading."""
        try:
            async with asyncio.timeout(self.engine.load_seconds):
                page = await self._door.post(call.url, call.headers, call.content or b"", LARGEST)
            self._codec.read(page.status, page.headers, page.body)
        except TimeoutError:
            down = LineDown(self.name, f"{self.engine.model} was not loaded within {self.engine.load_seconds:g} s")
            self._fuse.failed(down, self._clock())
            raise down from None
        except BourseError as e:
            self._fuse.failed(e, self._clock())
            raise

    @staticmethod
    def _failed(task: asyncio.Task[None]) -> bool:
        return task.cancelled() or task.exception() is not None


class _Tally:
    """What one question came to; where a vendor does not say, the most it may have been."""

    def __init__(self) -> None:
        self.calls = self.tokens_in = self.tokens_out = self.cost = 0
        self._most = Usage(0, 0)

    def add(self, most: Usage, cost: int) -> None:
        self.calls += 1
        self.tokens_in += most.tokens_in
        self.tokens_out += most.tokens_out
        self.cost += cost
        self._most = most

    def settle(self, usage: Usage, place: Place, cost: int) -> None:
        self.tokens_in += usage.tokens_in - self._most.tokens_in
        self.tokens_out += usage.tokens_out - self._most.tokens_out
        self.cost += cost - place.cost


async def ask(engine: Llm, body: Mapping[str, object], now: int) -> Answer:
    """An engine's opinion of a body in the Nifty seed's form: symbol, rsi, macd, ema50, ema200, close, volume, and
    `horizon` and `facts` where wanted. `now`: ns UTC of the decision. Raises BadValue naming the field; else as
    `Llm.ask`.
    """
    return await engine.ask(question(body), now)
