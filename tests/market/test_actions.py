"""Corporate actions: which record counts, since when, and what a file or an exchange's words come to."""

from __future__ import annotations

from datetime import UTC, date, datetime
from fractions import Fraction

import pytest
from pydantic import ValidationError

from market.actions import Action, Actions, Kind, in_force, known_by, news
from market.declarations import declared, instant_of, read
from market.errors import BadValue
from market.names import Names, Renamed, relisted, renames
from market.purposes import meanings
from market.sessions import nanoseconds

EX = date(2016, 9, 8)
MIDNIGHT = nanoseconds(datetime(2016, 9, 7, 18, 30, tzinfo=UTC))
"""The beginning of that day in India."""

LATER = nanoseconds(datetime(2017, 1, 2, tzinfo=UTC))
NOW = nanoseconds(datetime(2026, 11, 1, tzinfo=UTC))


def told(words: str, source: str = "yahoo", known: int = MIDNIGHT, recorded: int = NOW, by: str = "") -> Action:
    """`BAJFINANCE SPLIT 2016-09-08 5` as a record."""
    symbol, kind, day, value = words.split()
    row = {"symbol": symbol, "kind": kind, "ex_date": day, "value": value, "reason": "r" * bool(by)}
    return declared("test", row, recorded, source, by).model_copy(update={"known": known})


SPLIT = told("BAJFINANCE SPLIT 2016-09-08 5")


def counted(*records: Action, as_of: int = NOW) -> list[str]:
    return sorted(f"{a.words()} {a.source}" for a in in_force(records, as_of))


def test_a_split_and_a_bonus_of_one_source_and_day_both_count() -> None:
    both = SPLIT, told("BAJFINANCE BONUS 2016-09-08 1:1")

    assert counted(*both) == ["BONUS 1:1 yahoo", "SPLIT 5 yahoo"]


def test_what_two_sources_say_of_one_day_counts_once_and_the_exchange_before_others() -> None:
    assert counted(SPLIT, told("BAJFINANCE BONUS 2016-09-08 4:1", "nse")) == ["BONUS 4:1 nse"]


def test_an_operator_beats_every_source_and_their_word_is_kept() -> None:
    records = [
        SPLIT,
        told("BAJFINANCE SPLIT 2016-09-08 5", "nse", known=LATER),
        told("BAJFINANCE SPLIT 2016-09-08 10", "operator", by="me"),
    ]

    assert counted(*records) == ["SPLIT 10 operator"]
    assert len(Actions(records).records) == 3


def test_a_correction_counts_from_the_moment_it_is_known() -> None:
    records = [SPLIT, told("BAJFINANCE SPLIT 2016-09-08 10", known=LATER)]

    assert counted(*records, as_of=MIDNIGHT - 1) == []
    assert counted(*records, as_of=MIDNIGHT) == ["SPLIT 5 yahoo"]
    assert counted(*records, as_of=LATER - 1) == ["SPLIT 5 yahoo"]
    assert counted(*records, as_of=LATER) == ["SPLIT 10 yahoo"]


def test_of_two_words_known_at_once_the_one_recorded_later_counts() -> None:
    records = [told("BAJFINANCE SPLIT 2016-09-08 10", recorded=NOW + 1), SPLIT]

    assert counted(*records) == ["SPLIT 10 yahoo"]


def test_an_event_that_never_was_is_taken_back_and_a_dividend_of_the_day_stays() -> None:
    records = [SPLIT, told("BAJFINANCE DIVIDEND 2016-09-08 3.60"), told("BAJFINANCE SPLIT 2016-09-08 none", "nse")]

    assert counted(*records) == ["DIVIDEND 3.60 yahoo"]


@pytest.mark.parametrize(
    ("recorded", "known"),
    [
        (datetime(2016, 9, 1, 10, tzinfo=UTC), datetime(2016, 9, 1, 10, tzinfo=UTC)),
        (datetime(2016, 9, 8, 10, tzinfo=UTC), datetime(2016, 9, 8, 10, tzinfo=UTC)),
        (datetime(2016, 9, 8, 18, 30, tzinfo=UTC), datetime(2016, 9, 7, 18, 30, tzinfo=UTC)),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2016, 9, 7, 18, 30, tzinfo=UTC)),
    ],
)
def test_a_past_event_was_public_by_its_midnight_and_a_coming_one_when_we_heard(
    recorded: datetime, known: datetime
) -> None:
    assert known_by("NSE:BAJFINANCE", EX, nanoseconds(recorded)) == nanoseconds(known)


def test_the_same_word_again_is_no_news_and_a_corrected_one_is() -> None:
    other = told("BAJFINANCE SPLIT 2016-09-08 10", recorded=NOW + 1)

    assert news([SPLIT], [SPLIT.model_copy(update={"recorded": NOW + 5, "known": LATER})]) == []
    assert news([SPLIT], [other, other]) == [other]
    assert news([SPLIT, other], [SPLIT.model_copy(update={"recorded": NOW + 2})]) != []


def test_an_earlier_moment_of_knowing_is_news_once() -> None:
    early = SPLIT.model_copy(update={"known": MIDNIGHT - 1})

    assert news([SPLIT], [early]) == [early]
    assert news([SPLIT, early], [early]) == []


def test_at_an_open_the_shares_that_go_ex_that_day_have_their_factors() -> None:
    actions = Actions(
        [
            SPLIT,
            told("BAJFINANCE BONUS 2016-09-08 1:1"),
            told("TCS DIVIDEND 2016-09-08 6.50"),
            told("ITC BONUS 2016-09-09 1:2"),
        ]
    )
    opens = nanoseconds(datetime(2016, 9, 8, 3, 45, tzinfo=UTC))

    assert actions.going_ex(EX, opens) == {"NSE:BAJFINANCE": (Fraction(1, 10), 10)}
    with pytest.raises(BadValue, match="from 2016-09-08 on"):
        actions.going_ex(EX, MIDNIGHT - 1)


def test_what_was_not_known_before_the_open_is_not_in_its_factors() -> None:
    opens = nanoseconds(datetime(2016, 9, 8, 3, 45, tzinfo=UTC))

    assert Actions([SPLIT.model_copy(update={"known": opens + 1})]).going_ex(EX, opens) == {}


# The exchange's own names of two shares: SESAGOA, SSLT, VEDL, and TELCO, TATAMOTORS, as in its end-of-day files.
NAMES = Names(
    [
        Renamed("NSE:SESAGOA", "NSE:SSLT", date(2013, 10, 4)),
        Renamed("NSE:SSLT", "NSE:VEDL", date(2015, 5, 7)),
        Renamed("NSE:TATAMOTORS", "NSE:TMPV", date(2025, 10, 24)),
        Renamed("NSE:TMLCV", "NSE:TATAMOTORS", date(2025, 11, 12)),
    ]
)


@pytest.mark.parametrize(
    ("then", "day", "now"),
    [
        ("NSE:SESAGOA", date(2008, 8, 8), "NSE:VEDL"),
        ("NSE:SSLT", date(2014, 1, 1), "NSE:VEDL"),
        ("NSE:VEDL", date(2020, 1, 1), "NSE:VEDL"),
        ("NSE:TATAMOTORS", date(2020, 1, 1), "NSE:TMPV"),
        ("NSE:TATAMOTORS", date(2026, 1, 1), "NSE:TATAMOTORS"),
        ("NSE:TMLCV", date(2025, 11, 11), "NSE:TATAMOTORS"),
    ],
)
def test_a_symbol_and_a_day_name_one_share_and_back(then: str, day: date, now: str) -> None:
    assert NAMES.present(then, day) == now
    assert NAMES.listed(now, day) == then


def test_a_name_without_a_day_is_that_of_the_share_that_has_it_or_had_it_last() -> None:
    assert NAMES.latest("NSE:SESAGOA") == "NSE:VEDL"
    assert NAMES.latest("NSE:TATAMOTORS") == "NSE:TATAMOTORS"
    assert NAMES.called("NSE:VEDL") == ["NSE:VEDL", "NSE:SSLT", "NSE:SESAGOA"]


def test_actions_under_an_old_name_are_the_present_shares() -> None:
    actions = Actions([told("SESAGOA SPLIT 2008-08-08 20"), told("SESAGOA RENAME 2013-10-04 VEDL")])

    assert [a.words() for a in actions.of("NSE:VEDL", NOW)] == ["SPLIT 20", "RENAME to NSE:VEDL"]
    assert [a.words() for a in actions.of("NSE:VEDL", LATER - 1)] == ["SPLIT 20", "RENAME to NSE:VEDL"]


def test_renames_are_read_off_rows_and_off_two_lists_with_isins() -> None:
    days = [date(2011, 6, 28), date(2011, 6, 29), date(2011, 6, 29)]
    # The fifth of these has split since: another ISIN of the same line.
    before = [("NSE:CADILAHC", "INE010B01019"), ("NSE:TCS", "INE467B01029"), ("NSE:AAA", "INE296A01024")]
    after = [("NSE:ZYDUSLIFE", "INE010B01027"), ("NSE:TCS", "INE467B01029"), ("NSE:AAA", "INE296A01032")]

    found = renames(["INFY", "INFY", "TCS"], days, ["INFOSYSTCH", "INFY", "TCS"])

    assert found == [Renamed("INFOSYSTCH", "INFY", date(2011, 6, 29))]
    assert relisted(before, after, EX) == [Renamed("NSE:CADILAHC", "NSE:ZYDUSLIFE", EX)]


HEAD = "symbol,kind,ex_date,value,isin,known,source,reason\n"


def test_a_file_of_our_own_form_is_read_exactly() -> None:
    rows = "INFY,bonus,2018-09-04,1:1,INE009A01021,2018-07-13,nse,Bonus 1:1\nBSE:ITC,split,2005-09-21,10,,,,\n"
    rows += "WIPRO,SPLIT,2010-06-15,5/3,,,,\nRELIANCE,DEMERGER,2006-01-18,580.10/928.50,,,,\nX,RIGHTS,2020-01-01,,,,,\n"

    infy, itc, wipro, reliance, rights = read("a.csv", HEAD + rows, NOW, "desk")

    assert (infy.symbol, infy.factor, infy.isin, infy.source) == ("NSE:INFY", Fraction(1, 2), "INE009A01021", "nse")
    assert infy.known == nanoseconds(datetime(2018, 7, 13, 18, 29, 59, 999_999, tzinfo=UTC))
    assert (itc.symbol, itc.factor, itc.source) == ("BSE:ITC", Fraction(1, 10), "desk")
    assert wipro.factor == Fraction(3, 5)
    assert (reliance.factor, reliance.volume_factor) == (Fraction(58010, 92850), 1)
    assert rights.factor is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("INFY,SPLIT,2018-09-04,0", "row 1, value: '0' is not allowed; how many shares each one became"),
        ("INFY,SPLIT,2018-09-04,-5", "how many shares each one became"),
        ("INFY,SPLIT,2018-09-04,5:1", "how many shares each one became"),
        ("INFY,SPLIT,2018-09-04,1", "not 1"),
        ("INFY,SPLIT,2018-09-04,20000", "within 10000 times"),
        ("INFY,BONUS,2018-09-04,1:0", "new shares for shares held"),
        ("INFY,BONUS,2018-09-04,2", "new shares for shares held"),
        ("INFY,DIVIDEND,2018-09-04,0", "rupees above 0"),
        ("INFY,DIVIDEND,2018-09-04,-1", "rupees above 0"),
        ("INFY,DEMERGER,2018-09-04,0/5", "open over the close before"),
        ("INFY,RENAME,2018-09-04,INFY", "another symbol"),
        ("INFY,RENAME,2018-09-04,", "a symbol like NSE:INFY"),
        ("INFY,MERGER,2018-09-04,1", "one of SPLIT, BONUS"),
        ("INFY,SPLIT,2018-13-04,5", "a date like 2016-09-08"),
        ("INFY,SPLIT,04-09-2018,5", "a date like 2016-09-08"),
        ("LSE:INFY,SPLIT,2018-09-04,5", "a symbol like NSE:INFY"),
        ("INFY,SPLIT,2018-09-04", "another number of values"),
        ("INFY,SPLIT,2018-09-04,2\nINFY,split,2018-09-04,3", "row 2: 'NSE:INFY SPLIT 2018-09-04' is not allowed; each"),
    ],
)
def test_a_wrong_row_is_one_error_that_names_it(row: str, said: str) -> None:
    with pytest.raises(BadValue) as error:
        read("a.csv", f"symbol,kind,ex_date,value\n{row}\n", NOW, "desk")

    assert said in str(error.value)
    assert str(error.value).startswith("a.csv, row ")


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "symbol,kind,ex_date,value\n", "symbol,kind,ex_date,value,more\n"])
def test_what_is_no_such_file_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        read("a.csv", text, NOW, "desk")


@pytest.mark.parametrize("written", ["2016-09-08T09:00:00", "yesterday", "2016-9-8", "9999-12-31T23:00:00-23:00"])
def test_an_instant_has_a_zone_or_is_a_date(written: str) -> None:
    with pytest.raises(BadValue, match="known"):
        instant_of("known", written)


def test_an_operator_has_a_name_and_a_reason() -> None:
    with pytest.raises(ValidationError, match="a name and a reason"):
        Action(
            symbol="NSE:INFY",
            kind=Kind.SPLIT,
            ex_date=EX,
            factor=Fraction(1, 2),
            known=0,
            recorded=0,
            source="operator",
        )


# Subjects and purposes as the exchanges have written them.
@pytest.mark.parametrize(
    ("purpose", "expected"),
    [
        ("Bonus 2:1", [("BONUS", Fraction(1, 3), None)]),
        ("Bonus issue 1:1", [("BONUS", Fraction(1, 2), None)]),
        ("Stock  Split From Rs.5/- to Rs.2/-", [("SPLIT", Fraction(2, 5), None)]),
        (
            "Face Value Split (Sub-Division) - From Rs 10/- Per Share To Re 1/- Per Share",
            [("SPLIT", Fraction(1, 10), None)],
        ),
        (
            "Bonus 1:1/Face Value Split From Rs.10/- To Rs.2/-",
            [("BONUS", Fraction(1, 2), None), ("SPLIT", Fraction(1, 5), None)],
        ),
        ("Consolidation Of Shares From Re 1/- To Rs 10/-", [("SPLIT", Fraction(10), None)]),
        ("Interim Dividend - Rs. - 18.0000", [("DIVIDEND", None, 180_000)]),
        ("Annual General Meeting/Dividend - Rs 3.50 Per Share", [("DIVIDEND", None, 35_000)]),
        ("Interim Dividend - Rs 3 Per Share/Special Dividend - Re 0.50 Per Share", [("DIVIDEND", None, 35_000)]),
        ("Demerger", [("DEMERGER", None, None)]),
        ("Rights 1:15 @ Premium Rs 1247/-", [("RIGHTS", None, None)]),
        ("Annual General Meeting", []),
        ("Buy Back", []),
        ("Interim Dividend", None),
        ("Bonus Debentures 1:1", None),
        ("Bonus 0:1", None),
        ("Capital Reduction", None),
        ("Face Value Split", None),
        ("Scheme Of Amalgamation", None),
        ("", None),
    ],
)  # fmt: skip
def test_an_exchanges_words_are_understood_or_handed_back(
    purpose: str, expected: list[tuple[str, Fraction | None, int | None]] | None
) -> None:
    found = meanings(purpose)

    assert (None if found is None else [(m.kind, m.factor, m.amount) for m in found]) == expected


def test_a_dividend_in_percent_is_of_the_face_value() -> None:
    (found,) = meanings("Dividend - 150%", Fraction(10)) or []

    assert found.amount == 150_000
    assert meanings("Dividend - 150%") is None
