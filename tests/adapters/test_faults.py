"""Faults ordered of the simulated exchange, as its clients then see them."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from adapters.faults import Faults, Order, Spoiler
from market.sessions import SECOND
from market.vendors.kite_packets import columns
from tests.adapters.test_exchange import (
    RELIANCE,
    STILL,
    TOKENS,
    ask,
    connect,
    play,
    run,
    running,
    short,
)

FRAMES = [b"%05d" % k for k in range(10_000)]
SOON = 20
"""Steps of the tape within which an order is carried out."""


def spoiled(seed: str = "1", **rates: Any) -> tuple[list[Any], Counter[str]]:
    """`FRAMES`, four a step and then three empty steps, and what was done to them."""
    counts: Counter[str] = Counter()
    spoiler, faults, sent = Spoiler(seed, counts), Faults(**rates), []
    for step in range(len(FRAMES) // 4 + 4):
        sent += spoiler.spoil(faults, step, FRAMES[4 * step : 4 * step + 4])
    return sent, counts


def test_without_faults_every_frame_comes_as_it_is() -> None:
    assert spoiled() == (FRAMES, Counter())


def test_lost_frames_are_those_counted() -> None:
    sent, counts = spoiled(drop=0.1)

    assert len(sent) == len(FRAMES) - counts["drop"]
    assert sent == sorted(set(sent))
    assert 900 < counts["drop"] < 1100


def test_frames_sent_twice_follow_each_other() -> None:
    sent, counts = spoiled(duplicate=0.1)

    assert sent == sorted(sent)
    assert sorted(set(sent)) == FRAMES
    assert len(sent) - len(FRAMES) == counts["duplicate"] > 900


def test_delayed_frames_come_later_and_all_come() -> None:
    sent, counts = spoiled(delay=0.1, delay_steps=3)

    late = [k for k, frame in enumerate(sent[1:], 1) if frame < max(sent[:k][-20:])]
    assert sorted(sent) == FRAMES
    assert len(late) > 900
    assert counts["delay"] > 900


def test_reordered_frames_change_places_with_the_next() -> None:
    sent, counts = spoiled(reorder=0.1)

    places = {frame: k for k, frame in enumerate(sent)}
    assert all(abs(places[frame] - k) <= 1 for k, frame in enumerate(FRAMES) if frame in places)
    assert len(FRAMES) - len(sent) <= 1
    assert sum(a > b for a, b in pairwise(sent)) >= counts["reorder"] - 1 > 800


@pytest.mark.parametrize("frame", [b"\x00\x01abcdef", '{"t":"tf"}', b"x", "x"])
def test_a_damaged_frame_is_another(frame: bytes | str) -> None:
    spoiler = Spoiler("1", Counter())

    got = [spoiler.spoil(Faults(corrupt=1.0), step, [frame]) for step in range(200)]

    assert all(one != frame and type(one) is type(frame) for [one] in got)


def test_the_same_seed_spoils_the_same_frames() -> None:
    rates = {"drop": 0.1, "duplicate": 0.1, "delay": 0.1, "reorder": 0.1, "corrupt": 0.1}

    assert spoiled("1", **rates) == spoiled("1", **rates)
    assert spoiled("1", **rates) != spoiled("2", **rates)


def test_an_order_changes_what_it_names() -> None:
    first = Order(drop=0.5, seed=3).after(Faults())

    assert Order(mute=True).after(first) == Faults(drop=0.5, seed=3, mute=True)


def test_a_mute_line_hears_only_the_heartbeat_until_it_is_over() -> None:
    async def story() -> tuple[bytes, int]:
        silent = Faults(mute=True)
        async with running([short()], speed=5.0, faults=silent) as (exchange, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            await ask(line, "full", TOKENS)
            heartbeat = await line.receive_bytes(timeout=60)
            step = exchange.step
            await order(web, url, mute=False)
            _, texts = await play(line, None, step + SOON)
            return heartbeat, texts[0]["frame"] - step

    heartbeat, behind = run(story())

    assert heartbeat == b"\x00"
    assert behind >= 1


def test_a_held_tape_waits_while_it_is_mute() -> None:
    tape = short()

    async def story() -> int:
        async with running([tape], hold=True, faults=Faults(mute=True)) as (_, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            playing = asyncio.create_task(play(line, -1))
            await order(web, url, mute=False)
            return len((await playing)[1])

    assert run(story()) == tape.steps


@pytest.mark.parametrize(("cut", "seen"), [(True, 1006), (1000, 1000)])
def test_every_socket_is_cut_and_may_come_back(cut: bool | int, seen: int) -> None:
    async def story() -> tuple[list[int | None], int]:
        async with running([short()], speed=STILL) as (exchange, url), aiohttp.ClientSession() as web:
            lines = [await connect(web, url) for _ in range(3)]
            waiting = [asyncio.create_task(line.receive(timeout=60)) for line in lines]
            told = await order(web, url, cut=cut)
            await asyncio.gather(*waiting)
            await connect(web, url)
            assert told["injected"] == {"cut": 3}
            return [line.close_code for line in lines], exchange.sockets

    assert run(story()) == ([seen] * 3, 1)


def test_nobody_comes_in_while_it_refuses() -> None:
    async def story() -> int:
        async with running([short()], speed=STILL) as (_, url), aiohttp.ClientSession() as web:
            await order(web, url, refuse=True)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await connect(web, url)
            await order(web, url, refuse=False)
            await connect(web, url)
            return refused.value.status

    assert run(story()) == 503


def test_expired_tokens_open_nothing_until_renewed() -> None:
    async def story() -> list[int]:
        async with running([short()], speed=STILL) as (_, url), aiohttp.ClientSession() as web:
            await order(web, url, expire=True)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await connect(web, url)
            await order(web, url, renew="tomorrow")
            told = {"Authorization": "token demo:tomorrow"}
            return [refused.value.status, (await web.get(f"{url}/user/profile", headers=told)).status]

    assert run(story()) == [403, 200]


def test_a_skewed_vendor_stamps_ahead_and_its_tape_tells_the_true_time() -> None:
    tape = short()

    async def story() -> tuple[list[bytes], list[dict[str, Any]]]:
        faults = Faults(skew_seconds=2.0)
        async with running([tape], hold=True, faults=faults) as (_, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            await ask(line, "full", [RELIANCE.tokens["kite"]])
            return await play(line, -1)

    frames, texts = run(story())

    rows = [row for frame in frames for row in columns(frame)["full"].rows]
    due = [row for k in range(tape.steps) for row in tape.packets(k) if row["instrument"] == RELIANCE.id]
    assert [int(r["last_trade_time"]) for r in rows] == [int(r["at"]) // SECOND + 2 for r in due]
    assert [t["clock"] for t in texts] == [tape.clock(k) for k in range(tape.steps)]


def test_lost_frames_of_a_socket_are_lost_for_it_and_counted() -> None:
    tape = short()

    async def story() -> tuple[int, int, int]:
        faults = Faults(drop=0.2, seed=5)
        async with running([tape], hold=True, faults=faults) as (exchange, url), aiohttp.ClientSession() as web:
            line = await connect(web, url)
            await ask(line, "full", TOKENS)
            frames, texts = await play(line, -1)
            return len(frames) + exchange.injected["drop"], exchange.injected["drop"], len(texts)

    total, lost, texts = run(story())

    assert total == sum(bool(len(tape.packets(k))) for k in range(tape.steps))
    assert lost > 0
    assert texts == tape.steps


@pytest.mark.parametrize(("name", "status"), [("too_many", 429), ("broken", 503)])
def test_rest_fails_at_a_rate(name: str, status: int) -> None:
    async def story() -> tuple[list[int], dict[str, Any]]:
        async with running([short()], speed=STILL) as (_, url), aiohttp.ClientSession() as web:
            await order(web, url, **{name: 0.5, "seed": 1})
            codes = [(await web.get(f"{url}/connect/login?api_key=x")).status for _ in range(60)]
            return codes, await order(web, url, **{name: 0.0})

    codes, told = run(story())

    assert set(codes) == {400, status}
    assert told["injected"] == {name: codes.count(status)}


WRONG = (
    b'{"drop":2}', b'{"drop":"x"}', b'{"speed":1}', b"{", b'{"cut":5}', b'{"mute":"yes"}', b'{"mute":1}',
    b'{"drop":"0.5"}', b'\xff\xfe{"mute":true}',
)  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_order_changes_nothing_and_is_refused_in_one_line(wrong: bytes) -> None:
    async def story() -> tuple[int, str, Faults]:
        async with running([short()], speed=STILL) as (exchange, url), aiohttp.ClientSession() as web:
            answer = await web.post(f"{url}/simulation/faults", data=wrong)
            return answer.status, (await answer.json())["error"], exchange.faults

    status, said, faults = run(story())

    assert (status, faults) == (400, Faults())
    assert "\n" not in said and "http" not in said


def test_an_order_is_read_whatever_charset_its_sender_names() -> None:
    async def story() -> Faults:
        async with running([short()], speed=STILL) as (exchange, url), aiohttp.ClientSession() as web:
            kind = {"Content-Type": "application/json; charset=nosuch"}
            await web.post(f"{url}/simulation/faults", data=b'{"drop":1,"cut":true}', headers=kind)
            return exchange.faults

    assert run(story()) == Faults(drop=1.0)


async def order(web: aiohttp.ClientSession, url: str, **asked: Any) -> dict[str, Any]:
    async with web.post(f"{url}/simulation/faults", json=asked) as answer:
        assert answer.status == 200
        return await answer.json()
