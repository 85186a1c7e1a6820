"""The exchanges' end-of-day files: three layouts, and what is refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.candles import Provenance
from market.corrections import PROPOSED, sane
from market.errors import BadPayload
from market.instruments import Instrument
from market.sessions import day_number
from market.vendors.nse_bhavcopy import LARGEST, file_names, official, read

FIXTURE = Path(__file__).resolve().parents[2] / ".." / "shared/fixtures/nse/ipo/nse-bhavcopy-01102026.csv"

FULL = """SYMBOL, SERIES, DATE1, PREV_CLOSE, OPEN_PRICE, HIGH_PRICE, LOW_PRICE, LAST_PRICE, CLOSE_PRICE, AVG_PRICE, \
TTL_TRD_QNTY, TURNOVER_LACS, NO_OF_TRADES, DELIV_QTY, DELIV_PER
AAA, EQ, 01-Oct-2026, 99.00, 100.00, 105.50, 99.95, 104.00, 104.25, 103.10, 1000, 1.03, 12, -, -
AAA, BL, 01-Oct-2026, 99.00, 98.00, 98.00, 98.00, 98.00, 98.00, 98.00, 500, 0.49, 1, 500, 100.00
718GS2033, GS, 01-Oct-2026, 99.00, 98.00, 98.00, 98.00, 98.00, 98.00, 98.00, 500, 0.49, 1, 500, 100.00
BBB, BE, 01-Oct-2026, 9.00, 9.05, 9.05, 9.05, 9.05, 9.05, 9.05, 10, 0.00, 1, 10, 100.00
"""
UDIFF = """TradDt,BizDt,Sgmt,Src,FinInstrmTp,FinInstrmId,ISIN,TckrSymb,SctySrs,XpryDt,FininstrmActlXpryDt,StrkPric,\
OptnTp,FinInstrmNm,OpnPric,HghPric,LwPric,ClsPric,LastPric,PrvsClsgPric,UndrlygPric,SttlmPric,OpnIntrst,ChngInOpnIntrst,\
TtlTradgVol,TtlTrfVal,TtlNbOfTxsExctd,SsnId,NewBrdLotQty,Rmks,Rsvd1,Rsvd2,Rsvd3,Rsvd4
2024-07-08,2024-07-08,CM,{src},STK,1,INE002A01018,RELIANCE,EQ,,,,,RELIANCE INDUSTRIES,3180.00,3217.60,3174.00,3201.80,\
3200.00,3177.25,,3201.80,,,3000,9600000.00,120,F1,1,,,,,
"""
CM = """SYMBOL,SERIES,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,TOTTRDQTY,TOTTRDVAL,TIMESTAMP,TOTALTRADES,ISIN,
RELIANCE,EQ,1000,1010.5,995,1005.05,1004,999,200,200500,25-AUG-2016,17,INE002A01018,
"""


def test_the_full_file_gives_the_shares_and_leaves_bonds_and_blocks() -> None:
    found = read(FULL.encode())

    assert (found.exchange, found.day) == ("NSE", date(2026, 10, 1))
    assert [(r.symbol, r.series) for r in found.rows] == [("NSE:AAA", "EQ"), ("NSE:BBB", "BE")]
    one = found.rows[0]
    assert (one.open, one.high, one.low, one.close) == (1_000_000, 1_055_000, 999_500, 1_042_500)
    assert (one.volume, one.trades, one.vwap, one.isin) == (1000, 12, 1_031_000, None)


@pytest.mark.parametrize("exchange", ["NSE", "BSE"])
def test_the_common_layout_is_that_of_both_exchanges(exchange: str) -> None:
    (one,) = read(UDIFF.format(src=exchange).encode()).rows

    assert (one.symbol, one.isin, one.close) == (f"{exchange}:RELIANCE", "INE002A01018", 32_018_000)
    assert (one.volume, one.trades, one.vwap) == (3000, 120, 32_000_000)


def test_the_old_layout_ends_its_lines_in_a_comma() -> None:
    found = read(CM.encode())

    assert (found.day, found.rows[0].vwap, found.rows[0].trades) == (date(2016, 8, 25), 10_025_000, 17)


def test_candles_are_found_by_isin_then_by_symbol_and_proposed_as_official() -> None:
    renamed = Instrument(id=0, symbol="NSE:RIL", isin="INE002A01018")
    plain, other = Instrument(id=1, symbol="NSE:RELIANCE"), Instrument(id=2, symbol="BSE:RELIANCE")

    rows = official(read(CM.encode()), [renamed, plain, other])

    assert rows["instrument"].tolist() == [0, 1]
    assert set(rows["session"].tolist()) == {day_number(date(2016, 8, 25))}
    assert set(rows["revision"].tolist()) == {PROPOSED}
    assert set(rows["provenance"].tolist()) == {Provenance.OFFICIAL}
    assert sane(rows).all()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (FULL.replace("105.50", "99.00"), "open, high, low, close"),
        (FULL.replace("100.00, 105.50", "1e2, 105.50"), "OPEN_PRICE"),
        (FULL.replace("104.25", "NaN"), "CLOSE_PRICE"),
        (FULL.replace("104.25", "104.25001"), "CLOSE_PRICE"),
        (FULL.replace("99.95", "-99.95"), "LOW_PRICE"),
        (FULL.replace("1000, 1.03", "1e9, 1.03"), "TTL_TRD_QNTY"),
        (FULL.replace("BBB, BE, 01-Oct", "BBB, BE, 02-Oct"), "2026-10-02"),
        (FULL.replace("BBB, BE", "AAA, EQ"), "a second time"),
        (FULL + "CCC, EQ\n", "2 values under 15 names"),
        (FULL.replace("BBB, BE", '"B"B, BE'), "line"),
        (UDIFF.format(src="NYSE"), "NYSE"),
        (UDIFF.format(src="NSE").replace("INE002A01018", "<script>"), "ISIN"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_handed_on(broken: str, said: str) -> None:
    with pytest.raises(BadPayload) as told:
        read(broken.encode())

    assert said in told.value.reason
    assert told.value.rest is None or told.value.rest.exchange == "NSE"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00" * 100,
        b"\xff\xfe",
        b"PK\x03\x04",
        b"<html><body>Access Denied</body></html>",
        FULL.splitlines()[0].encode(),
        b"a" * (LARGEST + 1),
        ("SYMBOL," + FULL).encode(),
    ],
)
def test_what_is_no_such_file_is_refused(body: bytes) -> None:
    with pytest.raises(BadPayload):
        read(body)


@given(st.binary(max_size=200), st.integers(0, len(FULL)))
def test_whatever_stands_in_a_file_it_is_read_or_refused(junk: bytes, place: int) -> None:
    body = FULL.encode()
    try:
        found = read(body[:place] + junk + body[place:])
    except BadPayload:
        return
    assert all(r.low <= r.open <= r.high and r.low <= r.close <= r.high for r in found.rows)


@pytest.mark.skipif(not FIXTURE.exists(), reason="the fixtures are not here")
def test_the_published_file_is_read_as_it_is() -> None:
    found = read(FIXTURE.read_bytes())

    infosys = next(r for r in found.rows if r.symbol == "NSE:INFY")
    assert found.day == date(2026, 10, 1)
    assert (infosys.open, infosys.high, infosys.low, infosys.close) == (10_100_000, 10_350_000, 9_991_500, 10_350_000)
    assert (infosys.volume, infosys.trades) == (15_166_446, 227_162)


def test_a_days_file_is_looked_for_under_the_names_the_exchanges_give_it() -> None:
    names = file_names(date(2026, 10, 1))

    known = ("BhavCopy_NSE_CM_0_0_0_20261001_F_0000.csv.zip", "sec_bhavdata_full_01102026.csv", "cm01OCT2026bhav.csv")
    assert set(known) <= set(names)
