"""mStock's half of a socket: who may ask, what is sent, and a tape that comes back as the candles it was made of."""

from __future__ import annotations

import json
from datetime import date, time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.codecs import Accepted, Account, Refused, VendorError
from market.fold import CandleBuilder
from market.instruments import Instrument, Kind
from market.money import UNKNOWN
from market.sessions import MINUTE, SECOND, Sessions, session
from market.tape import BAR, Tape, from_bars
from market.ticks import FeedState, Ticks, mark
from market.vendors.mstock import MStock
from market.vendors.mstock_packets import MODES
from market.vendors.mstock_wire import SOCKET_INSTRUMENTS, Talk, Wire

DAY = session(date(2016, 8, 25), closes=time(9, 25))
OF = (
    Instrument(id=0, symbol="NSE:INFY", tokens={"mstock": "1|1594"}),
    Instrument(id=1, symbol="NSE:NIFTY 50", kind=Kind.INDEX, tokens={"mstock": "1|26000"}),
    Instrument(id=2, symbol="BSE:RELIANCE", tokens={"mstock": "3|500325"}),
)
TOKENS = {i.tokens["mstock"]: i.id for i in OF}
RIGHT = "a.b.c"


def talk(*of: Instrument) -> Talk:
    return Talk(Wire(of or OF), lambda token: token == RIGHT)


def subscribed(mode: str, tokens: list[str] | None = None) -> Talk:
    """A client that has logged in and asked, by the words of our own codec."""
    one, codec = talk(), MStock(TOKENS)
    said = codec.hello(Account(access_token=RIGHT)) + codec.subscribe(tokens or [*TOKENS], mode)
    for text in said:
        one.hear(text)
    return one


def bars(seed: int) -> np.ndarray:
    """Some of ten minutes of each instrument, the index without volume, some minutes flat."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((len(OF), DAY.minutes), BAR)
    rows["instrument"] = np.arange(len(OF))[:, None]
    rows["start"] = DAY.open + np.arange(DAY.minutes) * MINUTE
    prices = rng.integers(1000, 1004, (4, *rows.shape)) * 500
    rows["open"], rows["close"] = prices[:2]
    rows["low"], rows["high"] = prices.min(axis=0), prices.max(axis=0)
    rows["volume"] = rng.integers(1, 9, rows.shape) * (rows["instrument"] != 1)
    return rows.ravel()[rng.random(rows.size) < 0.8]


def heard(tape: Tape, client: Talk, codec: MStock) -> list[Ticks]:
    """The rows of each step, with the mark of its clock behind them."""
    rows = []
    for step in range(tape.steps):
        clock = tape.clock(step)
        messages = client.frames(tape.packets(step), tape.closes_before, clock)
        count = len(messages)
        ticks, bad = codec.read_many(messages, [clock] * count, [step << 8 | k for k in range(count)])
        assert not bad
        rows += [ticks, mark(0, FeedState.LIVE, clock)]
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_a_tape_over_the_wire_folds_back_to_the_recorded_minutes(seed: int) -> None:
    recorded, codec = bars(seed), MStock(TOKENS)
    tape = from_bars(DAY, recorded, {0: 5_000_000})

    rows = np.concatenate(heard(tape, subscribed("full"), codec))
    candles = CandleBuilder([i.id for i in OF], Sessions([DAY]).table()).step(rows)

    found = candles[(candles["interval"] == 60) & (candles["trades"] > 0)]
    names = ["instrument", "start", "open", "high", "low", "close", "volume"]
    assert np.sort(found[names], order=names[:2]).tolist() == np.sort(recorded[names], order=names[:2]).tolist()
    assert (codec.unknown, codec.unpriced) == (0, 0)


@pytest.mark.parametrize("mode", [*MODES])
def test_what_is_sent_is_what_the_tape_says_in_every_mode(mode: str) -> None:
    tape, codec = from_bars(DAY, bars(1), {0: 5_000_000}), MStock(TOKENS)

    rows = np.concatenate(heard(tape, subscribed(mode), codec))

    ticks = rows[rows["kind"] == 0]
    sent = np.concatenate([tape.packets(k) for k in range(tape.steps)])
    order, ours = (np.lexsort((np.arange(len(r)), r["instrument"])) for r in (sent, ticks))
    index = sent["instrument"][order] == 1
    assert ticks["price"][ours].tolist() == sent["price"][order].tolist()
    known = np.where(index | (mode == "ltp"), UNKNOWN, sent["day_volume"][order])
    assert ticks["day_volume"][ours].tolist() == known.tolist()
    assert (ticks["at"][ours] >= sent["at"][order]).all() and (ticks["at"] <= ticks["received"]).all()
    if mode == "full":
        assert ticks["at"][ours].tolist() == sent["at"][order].tolist()
        shares = ticks[ticks["instrument"] != 1]
        assert (shares["bid"] < shares["price"]).all() and (shares["ask"] > shares["price"]).all()
        assert (ticks["bid"][ticks["instrument"] == 1] == UNKNOWN).all()


def test_a_client_asks_only_after_its_login_and_may_try_again() -> None:
    one, codec = talk(), MStock(TOKENS)
    ask = codec.subscribe([*TOKENS], "full")[0]

    early = one.hear(ask)
    codec.hello(Account())
    refused = codec.text(one.hear("LOGIN:wrong")[0])
    admitted = one.admitted
    codec.hello(Account())
    taken = codec.text(one.hear(f"LOGIN:{RIGHT}")[0])

    assert codec.text(early[0]) == VendorError(message="the first message is LOGIN: and the token")
    assert (refused, admitted) == (Refused(reason="Invalid token"), False)
    assert (taken, one.admitted, one.hear(ask)) == (Accepted(), True, [])


def test_a_client_hears_what_it_subscribes_until_it_gives_it_back() -> None:
    one, codec = subscribed("ltp", ["3|500325"]), MStock(TOKENS)
    packets = from_bars(DAY, bars(1), {}).latest(10_000)

    first, again = one.fresh().tolist(), one.fresh().tolist()
    before = len(one.frames(packets, {}, DAY.open))
    for text in codec.unsubscribe(["3|500325"]):
        one.hear(text)

    assert (first, again, before, one.frames(packets, {}, DAY.open)) == ([2], [], 1, [])


def test_messages_are_numbered_on_and_on() -> None:
    one = subscribed("quote")
    packets = from_bars(DAY, bars(1), {}).latest(10_000)

    numbers = [int.from_bytes(m[27:35], "little") for _ in range(2) for m in one.frames(packets, {}, DAY.open)]

    assert numbers == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hello", "JSON like"), ('{"action":1}', "JSON like"), ("[]", "JSON like"), ("[" * 100_000, "JSON like"),
        ('{"action":7,"params":{"mode":1,"tokenList":[]}}', "action is 1 or 0"),
        ('{"action":1,"params":{"mode":4,"tokenList":[]}}', "mode 1, 2 or 3"),
        ('{"action":[],"params":{"mode":{},"tokenList":[]}}', "action is 1 or 0"),
        ('{"action":1,"params":{"mode":1,"tokenList":[{"exchangeType":"NSE","tokens":["22"]}]}}', "JSON like"),
        ('{"action":1,"params":{"mode":1,"tokenList":[{"exchangeType":1,"tokens":"22"}]}}', "JSON like"),
        ('{"action":1,"params":{"mode":1,"tokenList":[{"exchangeType":1,"tokens":["22",1594]}]}}', "1 tokens are not"),
    ],
)  # fmt: skip
def test_a_clients_nonsense_is_answered(text: str, complaint: str) -> None:
    one = talk()
    one.hear(f"LOGIN:{RIGHT}")

    [answer] = one.hear(text)

    assert json.loads(answer)["type"] == "error" and complaint in json.loads(answer)["data"]


def test_a_socket_carries_no_more_than_the_vendor_allows() -> None:
    count = SOCKET_INSTRUMENTS + 3
    many = [Instrument(id=k, symbol=f"NSE:S{k}", tokens={"mstock": f"1|{k}"}) for k in range(count)]
    one, codec = talk(*many), MStock({f"1|{k}": k for k in range(count)})
    one.hear(f"LOGIN:{RIGHT}")

    answers = [a for text in codec.subscribe([f"1|{k}" for k in range(count)], "full") for a in one.hear(text)]

    assert int((one.modes > 0).sum()) == SOCKET_INSTRUMENTS
    assert ["3 refused" in answer for answer in answers] == [True]


@given(st.text(max_size=60) | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x)
       | st.dictionaries(st.sampled_from(["action", "params", "mode", "tokenList", "tokens", "exchangeType"]), x)
       ).map(json.dumps))  # fmt: skip
def test_no_text_breaks_the_server(text: str) -> None:
    one = talk()
    one.hear(f"LOGIN:{RIGHT}")

    assert all(isinstance(answer, str) for answer in one.hear(text))


def test_the_clock_of_a_packet_is_the_tapes() -> None:
    tape, codec = from_bars(DAY, bars(1), {}), MStock(TOKENS)

    rows = np.concatenate(heard(tape, subscribed("quote"), codec))

    ticks = rows[rows["kind"] == 0]
    assert (ticks["quoted"] == ticks["received"]).all() and (ticks["received"] % SECOND == 0).all()
