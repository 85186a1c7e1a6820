"""Engines against a real server that is slow, busy, wrong, rude, or lies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from adapters.llm import EnginePlan, Llm, ask
from adapters.spending import OwnBudget, Spending
from market.engines import Answer, Engine
from market.errors import (
    AuthRequired,
    BadPayload,
    BadValue,
    BourseError,
    BudgetSpent,
    LineDown,
    NotYet,
    OutcomeUnknown,
    Rejected,
)
from tests.adapters.llm_house import (
    SAID,
    House,
    Reply,
    Told,
    drip,
    flood,
    house,
    ollama,
    openai,
    silence,
    torn,
    trouble,
)

BODY: dict[str, object] = {
    "symbol": "RELIANCE", "rsi": 28.5, "macd": 1.25, "ema50": 2840.0, "ema200": 2800.0, "close": 2850.5, "volume": 1500,
}  # fmt: skip
KEY = "sk-very-hush"
NOW = 1_795_000_000_000_000_000
NOON = datetime(2026, 11, 20, 6, 30, tzinfo=UTC).timestamp()
SHORT = 2.0
"""Seconds after which a silent house is given up: as few as a slow machine can keep to."""


class Waits:
    """Takes no time; what was asked for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Clock:
    """Stands still, unless it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def plan(url: str, kind: str = "openai", key: str = KEY, **more: Any) -> EnginePlan:
    prices = {"price_in": Decimal(2), "price_out": Decimal(10), "daily_cost": Decimal(1)}
    engine = Engine(kind=kind, model="m-1", **{**prices, **more})
    return EnginePlan(name="mine", engine=engine, key=SecretStr(key), root=url, bus="")


def story(
    replies: list[Reply], tell: Callable[[Llm, House], Awaitable[Any]], spending: Spending | None = None, **more: Any
) -> tuple[Any, Llm, House, Waits]:
    """What `tell` comes to with an engine whose house answers so; its error where it raises one of ours."""

    async def run() -> tuple[Any, Llm, House, Waits]:
        waits = Waits()
        clock = more.pop("clock", None)
        async with house(*replies) as made:
            llm = Llm(
                plan(made.url, **more),
                spending or OwnBudget("mine", lambda: NOON),
                waits,
                **({"clock": clock} if clock else {}),
            )
            try:
                return await tell(llm, made), llm, made, waits
            except BourseError as e:
                return e, llm, made, waits
            finally:
                await llm.close()

    return asyncio.run(run())


async def once(llm: Llm, made: House) -> Answer:
    return await ask(llm, BODY, NOW)


async def all_of(llm: Llm, count: int) -> list[object]:
    return [one for k in range(count) for one in await asyncio.gather(ask(llm, BODY, NOW), return_exceptions=True)]


def test_an_engine_answers_with_its_model_its_tokens_and_its_cost() -> None:
    answer, llm, made, _ = story([openai()], once)

    assert answer.result().model_dump() == {
        "symbol": "RELIANCE", "prediction": pytest.approx(0.65), "confidence": 0.4, "model_version": "m-1-0613",
    }  # fmt: skip
    assert (answer.tokens_in, answer.tokens_out, answer.calls, answer.at) == (100, 50, 1, NOW)
    assert answer.cost == Decimal("0.0007")  # 100 x 2 + 50 x 10 millionths
    assert made.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert llm._spending.spent()[:3] == (1, 150, 7_000_000)


def test_a_body_that_is_wrong_is_refused_before_anybody_is_asked() -> None:
    error, llm, made, _ = story([openai()], lambda llm, made: ask(llm, BODY | {"rsi": 140.0}, NOW))

    assert isinstance(error, BadValue) and error.name == "rsi"
    assert made.asked == [] and llm._spending.spent().calls == 0


@pytest.mark.parametrize("key", ["", "two words", "ключ", "line\nbreak"])
def test_without_a_key_that_can_be_one_nobody_is_asked(key: str) -> None:
    error, _, made, _ = story([openai()], once, key=key)

    assert isinstance(error, AuthRequired) and "OPENAI_API_KEY" in str(error)
    assert made.asked == []


@pytest.mark.parametrize("reply", [silence, drip])
def test_who_is_slow_is_given_up_at_the_deadline_and_counts_as_spent(reply: Reply) -> None:
    async def tell(llm: Llm, made: House) -> Answer:
        await llm.ready()
        return await once(llm, made)

    error, llm, made, _ = story([reply], tell, timeout_seconds=SHORT)

    assert isinstance(error, OutcomeUnknown) and error.reason == "no answer within 2 s"
    assert len(made.asked) == 1
    assert llm._spending.spent().tokens > 400


@pytest.mark.parametrize("reply", [flood, torn])
def test_an_answer_that_is_too_large_or_torn_is_not_asked_for_again(reply: Reply) -> None:
    error, _, made, _ = story([reply], once)

    assert type(error) is OutcomeUnknown
    assert len(made.asked) == 1


def test_a_server_of_ones_own_does_not_see_a_key_whoever_made_the_plan() -> None:
    answer, _, made, _ = story([openai()], once, send_key=False)

    assert isinstance(answer, Answer) and "Authorization" not in made.headers[0]


def test_a_house_that_is_not_there_costs_nothing() -> None:
    async def gone(llm: Llm, made: House) -> Answer:
        lost = Llm(plan("http://127.0.0.1:1"), llm._spending)
        try:
            return await ask(lost, BODY, NOW)
        finally:
            await lost.close()

    error, llm, _, _ = story([openai()], gone)

    assert type(error) is LineDown
    assert llm._spending.spent()[:3] == (1, 0, 0)


def test_a_busy_vendor_is_asked_again_when_it_says_and_no_sooner() -> None:
    answer, llm, made, waits = story([trouble(429, "rate_limit_exceeded", retry_after="2"), openai()], once)

    assert (answer.calls, waits.seconds, len(made.asked)) == (2, [2.0], 2)
    assert made.asked[0] == made.asked[1]
    assert llm._spending.spent()[:3] == (2, 150, 7_000_000)


def test_a_wait_longer_than_the_deadline_is_handed_on_and_nobody_asks_until_then() -> None:
    clock = Clock()

    async def tell(llm: Llm, made: House) -> list[object]:
        first = await all_of(llm, 2)
        clock.now += 21
        return first + await all_of(llm, 1)

    (first, second, third), _, made, waits = story(
        [trouble(429, "rate_limit_exceeded", retry_after="20"), openai()], tell, clock=clock
    )

    assert isinstance(first, LineDown) and first.after == 20.0
    assert isinstance(second, LineDown) and second.after == 20.0 and "not asked for 20 s more" in str(second)
    assert isinstance(third, Answer)
    assert waits.seconds == [] and len(made.asked) == 2


def test_a_vendor_that_stays_broken_is_asked_three_times_with_growing_pauses() -> None:
    error, llm, made, waits = story([trouble(503, "overloaded")], once)

    assert type(error) is LineDown
    assert (len(made.asked), waits.seconds) == (3, [0.25, 0.5])
    assert llm._spending.spent()[:3] == (3, 0, 0)


def test_a_vendor_that_says_do_not_retry_is_not_asked_again() -> None:
    error, _, made, _ = story([trouble(500, "server_error", x_should_retry="false")], once)

    assert type(error) is LineDown and len(made.asked) == 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (trouble(429, "insufficient_quota", retry_after="1"), Rejected),
        (trouble(401, "invalid_api_key"), AuthRequired),
        (trouble(404, "model_not_found"), Rejected),
        (Told("", 307, {"Location": "http://127.0.0.1:1/"}), Rejected),
    ],
)
def test_what_a_person_must_put_right_is_asked_once_and_said_to_everybody(
    reply: Reply, error: type[BourseError]
) -> None:
    found, _, made, waits = story([reply], lambda llm, made: all_of(llm, 3))

    assert [type(one) for one in found] == [error] * 3
    assert len({str(one) for one in found}) == 1
    assert (len(made.asked), waits.seconds) == (1, [])


def test_three_failures_in_a_row_end_the_asking_and_one_trial_brings_it_back() -> None:
    clock = Clock()

    async def tell(llm: Llm, made: House) -> tuple[list[object], int, list[object]]:
        failed = await all_of(llm, 4)
        asked = len(made.asked)
        clock.now += 10.5
        return failed, asked, await all_of(llm, 2)

    (failed, asked, after), _, _, _ = story([torn, torn, torn, openai()], tell, clock=clock)

    assert [type(one) for one in failed] == [OutcomeUnknown] * 3 + [LineDown]
    assert asked == 3
    assert [type(one) for one in after] == [Answer, Answer]


@pytest.mark.parametrize("content", ["{", '{"p_up": 0.5', "sure! up", {**SAID, "p_up": 3}, {**SAID, "p_up": 0.1}])
def test_an_answer_that_is_no_opinion_is_asked_for_once_more(content: object) -> None:
    answer, llm, made, _ = story([openai(content), openai()], once)

    assert (answer.calls, llm.counts["repaired"]) == (2, 1)
    assert (answer.tokens_in, answer.cost) == (200, Decimal("0.0014"))
    assert "could not be used" in json.dumps(made.asked[1]) and "could not be used" not in json.dumps(made.asked[0])


def test_a_second_answer_that_is_none_either_is_told() -> None:
    error, _, made, _ = story([openai("nonsense")], once)

    assert isinstance(error, BadPayload) and error.source == "mine" and "not JSON" in error.reason
    assert len(made.asked) == 2


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (openai('{"p_up": 0.', "length"), "cut off"),
        (openai("", "content_filter"), "content_filter"),
        (Told({"choices": [{"message": {"refusal": "no"}, "finish_reason": "stop"}]}), "refused"),
        (Told("<html>"), "not JSON"),
    ],
)
def test_what_asking_again_does_not_mend_is_asked_once(reply: Reply, what: str) -> None:
    error, _, made, _ = story([reply], once)

    assert isinstance(error, BadPayload) and what in error.reason
    assert len(made.asked) == 1


def test_the_tokens_of_an_answer_nobody_could_use_are_spent() -> None:
    _, llm, _, _ = story([openai("{", "length")], once)

    assert llm._spending.spent()[:3] == (1, 150, 7_000_000)


def test_a_vendor_that_does_not_say_its_tokens_is_counted_as_the_most_they_can_be() -> None:
    answer, llm, _, _ = story([openai(tokens=None)], once)

    assert answer.tokens_out == 400 and answer.tokens_in > 1000
    assert llm._spending.spent().tokens == answer.tokens_in + answer.tokens_out


def test_over_the_calls_of_a_day_nobody_is_asked_and_it_is_said_when_it_begins_anew() -> None:
    found, _, made, _ = story([openai()], lambda llm, made: all_of(llm, 3), daily_calls=2)

    assert [type(one) for one in found] == [Answer, Answer, BudgetSpent]
    assert "its 2 calls a day" in str(found[2]) and "begins anew at 2026-11-21 00:00 in India" in str(found[2])
    assert found[2].after == 12 * 3600
    assert len(made.asked) == 2


def test_a_call_that_may_cost_more_than_is_left_is_not_made() -> None:
    error, _, made, _ = story([openai()], once, daily_cost=Decimal("0.005"))

    assert isinstance(error, BudgetSpent) and "its 0.005 USD a day" in str(error)
    assert made.asked == []


def test_two_askers_do_not_spend_one_rest_twice() -> None:
    async def tell(llm: Llm, made: House) -> list[object]:
        other = Llm(plan(made.url, daily_calls=5), llm._spending)
        askers = [ask(one, BODY, NOW) for one in (llm, other) * 5]
        return await asyncio.gather(*askers, return_exceptions=True)

    found, _, made, _ = story([openai()], tell, daily_calls=5)

    assert sorted(type(one).__name__ for one in found) == ["Answer"] * 5 + ["BudgetSpent"] * 5
    assert len(made.asked) == 5


def test_an_empty_budget_does_not_blow_the_fuse() -> None:
    async def tell(llm: Llm, made: House) -> list[object]:
        found = await all_of(llm, 5)
        llm._spending = OwnBudget("next day")
        return found + await all_of(llm, 1)

    found, _, _, _ = story([openai()], tell, daily_calls=0)

    assert [type(one) for one in found] == [BudgetSpent] * 5 + [BudgetSpent]


def test_a_model_is_loaded_first_and_whoever_cannot_wait_is_told_so() -> None:
    loaded = asyncio.Event()

    async def slow(request: Any) -> Any:
        await loaded.wait()
        from aiohttp import web

        return web.json_response(ollama(None, "load").body)

    async def tell(llm: Llm, made: House) -> list[object]:
        first = await all_of(llm, 2)
        loaded.set()
        await llm.ready()
        return first + await all_of(llm, 2)

    found, _, made, _ = story([slow, ollama()], tell, kind="ollama", timeout_seconds=SHORT, key="")

    assert [type(one) for one in found] == [NotYet, NotYet, Answer, Answer]
    assert "m-1 is being loaded" in str(found[0])
    assert [bool(one["messages"]) for one in made.asked] == [False, True, True]
    assert "Authorization" not in made.headers[0]


def test_a_model_that_ollama_does_not_have_says_how_to_get_it() -> None:
    error, _, _, _ = story([Told({"error": "model 'm-1' not found"}, 404)], once, kind="ollama", key="")

    assert isinstance(error, Rejected) and "ollama pull" in str(error)


def test_no_error_holds_the_key_or_the_question() -> None:
    echo = Told({"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}}, 401)

    errors = [story([reply], once, timeout_seconds=SHORT)[0] for reply in (echo, silence, torn, openai("{"))]

    said = " ".join(f"{error} {error!r}" for error in errors)
    assert all(isinstance(error, BourseError) for error in errors)
    assert KEY not in said and "2850.5" not in said and KEY not in repr(plan("http://x"))
