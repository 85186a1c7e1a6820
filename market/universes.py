"""Universes: the instruments Bourse knows without asking anybody.

The built-in ones are the Nifty 50 with its indices and, for the US feeds, twenty large listings of NASDAQ and NYSE with
SPY and QQQ, whose money is 1/10,000 US dollars. Their prices and volumes are what the simulated exchange starts from:
the right size, not a quotation. Membership, names, industries and ISINs are those of August 2026; a deployment on a
real broker takes tokens and lots from the broker's own list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from market.errors import BadValue, UnknownSymbol
from market.instruments import Instrument, Kind, Universe
from market.money import Money, money
from market.records import Record

SHARES, INDICES = 1, 9
"""Kite's segment numbers: the lowest byte of an instrument token. Source: kite.trade/docs/connect/v3/websocket."""


class Listing(Record):
    """An instrument with the size of its market.

    `reference_price`: a plausible previous close; `daily_volume`: a plausible day's shares, 0 for an index.
    """

    instrument: Instrument
    reference_price: Money
    daily_volume: int


def tick_size(price: Money) -> Money:
    """The step in which a share of this price is quoted; each band includes its upper edge.

    >>> tick_size(money("249.95")), tick_size(money("1000")), tick_size(money("1000.10"))
    (100, 500, 1000)
    """
    return next(step for upto, step in _STEPS if upto is None or price <= upto)


# NSE circulars on tick sizes, in force 2025-04-15. Source: fyers.in/notice-board, 17 March 2025.
_STEPS: tuple[tuple[Money | None, Money], ...] = (
    (money("249.99"), money("0.01")),
    (money("1000"), money("0.05")),
    (money("5000"), money("0.10")),
    (money("10000"), money("0.50")),
    (money("20000"), money("1")),
    (None, money("5")),
)

# NSE's list of the Nifty 50, August 2026. Columns: ticker, name, industry, ISIN, exchange token, rupees, shares a day.
_SHARES: tuple[tuple[str, str, str, str, int, str, int], ...] = (
    ("ADANIENT", "Adani Enterprises", "Metals & Mining", "INE423A01024", 25, "2410.00", 1_100_000),
    ("ADANIPORTS", "Adani Ports and SEZ", "Services", "INE742F01042", 15083, "1455.00", 2_100_000),
    ("APOLLOHOSP", "Apollo Hospitals Enterprise", "Healthcare", "INE437A01024", 157, "7620.00", 420_000),
    ("ASIANPAINT", "Asian Paints", "Consumer Durables", "INE021A01026", 236, "2540.00", 1_000_000),
    ("AXISBANK", "Axis Bank", "Financial Services", "INE238A01034", 5900, "1235.00", 7_200_000),
    ("BAJAJ-AUTO", "Bajaj Auto", "Automobile and Auto Components", "INE917I01010", 16669, "8950.00", 330_000),
    ("BAJFINANCE", "Bajaj Finance", "Financial Services", "INE296A01032", 317, "1010.00", 7_800_000),
    ("BAJAJFINSV", "Bajaj Finserv", "Financial Services", "INE918I01026", 16675, "2065.00", 1_300_000),
    ("BEL", "Bharat Electronics", "Capital Goods", "INE263A01024", 383, "412.00", 14_500_000),
    ("BHARTIARTL", "Bharti Airtel", "Telecommunication", "INE397D01024", 10604, "2080.00", 5_600_000),
    ("CIPLA", "Cipla", "Healthcare", "INE059A01026", 694, "1530.00", 1_500_000),
    ("COALINDIA", "Coal India", "Oil Gas & Consumable Fuels", "INE522F01014", 20374, "384.00", 7_000_000),
    ("DRREDDY", "Dr. Reddy's Laboratories", "Healthcare", "INE089A01031", 881, "1265.00", 1_900_000),
    ("EICHERMOT", "Eicher Motors", "Automobile and Auto Components", "INE066A01021", 910, "7050.00", 480_000),
    ("ETERNAL", "Eternal", "Consumer Services", "INE758T01015", 5097, "305.00", 42_000_000),
    ("GRASIM", "Grasim Industries", "Construction Materials", "INE047A01021", 1232, "2760.00", 620_000),
    ("HCLTECH", "HCL Technologies", "Information Technology", "INE860A01027", 7229, "1580.00", 2_700_000),
    ("HDFCBANK", "HDFC Bank", "Financial Services", "INE040A01034", 1333, "995.00", 21_000_000),
    ("HDFCLIFE", "HDFC Life Insurance Company", "Financial Services", "INE795G01014", 467, "765.00", 2_600_000),
    ("HINDALCO", "Hindalco Industries", "Metals & Mining", "INE038A01020", 1363, "815.00", 5_400_000),
    ("HINDUNILVR", "Hindustan Unilever", "Fast Moving Consumer Goods", "INE030A01027", 1394, "2430.00", 1_500_000),
    ("ICICIBANK", "ICICI Bank", "Financial Services", "INE090A01021", 4963, "1375.00", 11_500_000),
    ("ITC", "ITC", "Fast Moving Consumer Goods", "INE154A01025", 1660, "406.00", 13_000_000),
    ("INFY", "Infosys", "Information Technology", "INE009A01021", 1594, "1545.00", 7_600_000),
    ("INDIGO", "InterGlobe Aviation", "Services", "INE646L01027", 11195, "5850.00", 820_000),
    ("JSWSTEEL", "JSW Steel", "Metals & Mining", "INE019A01038", 11723, "1175.00", 2_000_000),
    ("JIOFIN", "Jio Financial Services", "Financial Services", "INE758E01017", 18143, "302.00", 15_000_000),
    ("KOTAKBANK", "Kotak Mahindra Bank", "Financial Services", "INE237A01036", 1922, "425.00", 12_000_000),
    ("LT", "Larsen & Toubro", "Construction", "INE018A01030", 11483, "4020.00", 1_700_000),
    ("M&M", "Mahindra & Mahindra", "Automobile and Auto Components", "INE101A01026", 2031, "3690.00", 2_200_000),
    ("MARUTI", "Maruti Suzuki India", "Automobile and Auto Components", "INE585B01010", 10999, "15900.00", 380_000),
    ("MAXHEALTH", "Max Healthcare Institute", "Healthcare", "INE027H01010", 22377, "1120.00", 2_300_000),
    ("NTPC", "NTPC", "Power", "INE733E01010", 11630, "327.00", 10_500_000),
    ("NESTLEIND", "Nestle India", "Fast Moving Consumer Goods", "INE239A01024", 17963, "1265.00", 1_200_000),
    ("ONGC", "Oil & Natural Gas Corporation", "Oil Gas & Consumable Fuels", "INE213A01029", 2475, "246.00", 11_000_000),
    ("POWERGRID", "Power Grid Corporation of India", "Power", "INE752E01010", 14977, "276.00", 9_500_000),
    ("RELIANCE", "Reliance Industries", "Oil Gas & Consumable Fuels", "INE002A01018", 2885, "1520.00", 10_800_000),
    ("SBILIFE", "SBI Life Insurance Company", "Financial Services", "INE123W01016", 21808, "2010.00", 850_000),
    ("SHRIRAMFIN", "Shriram Finance", "Financial Services", "INE721A01047", 4306, "820.00", 5_200_000),
    ("SBIN", "State Bank of India", "Financial Services", "INE062A01020", 3045, "968.00", 8_600_000),
    ("SUNPHARMA", "Sun Pharmaceutical Industries", "Healthcare", "INE044A01036", 3351, "1765.00", 2_000_000),
    ("TCS", "Tata Consultancy Services", "Information Technology", "INE467B01029", 11536, "3130.00", 2_300_000),
    ("TATACONSUM", "Tata Consumer Products", "Fast Moving Consumer Goods", "INE192A01025", 3432, "1165.00", 1_300_000),
    (
        "TMPV",
        "Tata Motors Passenger Vehicles",
        "Automobile and Auto Components",
        "INE155A01022",
        3456,
        "361.00",
        9_800_000,
    ),
    ("TATASTEEL", "Tata Steel", "Metals & Mining", "INE081A01020", 3499, "171.00", 26_000_000),
    ("TECHM", "Tech Mahindra", "Information Technology", "INE669C01036", 13538, "1455.00", 1_600_000),
    ("TITAN", "Titan Company", "Consumer Durables", "INE280A01028", 3506, "3880.00", 820_000),
    ("TRENT", "Trent", "Consumer Services", "INE849A01020", 1964, "4320.00", 980_000),
    ("ULTRACEMCO", "UltraTech Cement", "Construction Materials", "INE481G01011", 11532, "11750.00", 260_000),
    ("WIPRO", "Wipro", "Information Technology", "INE075A01022", 3787, "245.00", 9_200_000),
)

# Columns: name, what it measures, exchange token, points. An index has no volume.
_INDICES: tuple[tuple[str, str, int, str], ...] = (
    ("NIFTY 50", "Nifty 50", 1001, "26050.00"),
    ("NIFTY BANK", "Nifty Bank", 1016, "58900.00"),
    ("INDIA VIX", "India VIX", 1035, "12.15"),
    ("NIFTY IT", "Nifty IT", 1015, "36900.00"),
    ("NIFTY AUTO", "Nifty Auto", 1029, "27300.00"),
    ("NIFTY PHARMA", "Nifty Pharma", 1025, "22600.00"),
    ("NIFTY FMCG", "Nifty FMCG", 1023, "55400.00"),
    ("NIFTY METAL", "Nifty Metal", 1030, "10450.00"),
)

# NASDAQ's and NYSE's own lists of symbols. Columns: exchange, ticker, name, sector, ISIN, dollars, shares a day.
_US: tuple[tuple[str, str, str, str, str, str, int], ...] = (
    ("NASDAQ", "AAPL", "Apple", "Technology", "US0378331005", "270.00", 48_000_000),
    ("NASDAQ", "AMD", "Advanced Micro Devices", "Technology", "US0079031078", "235.00", 55_000_000),
    ("NASDAQ", "AMZN", "Amazon.com", "Consumer Discretionary", "US0231351067", "225.00", 45_000_000),
    ("NASDAQ", "AVGO", "Broadcom", "Technology", "US11135F1012", "350.00", 24_000_000),
    ("NASDAQ", "COST", "Costco Wholesale", "Consumer Staples", "US22160K1051", "915.00", 2_100_000),
    ("NASDAQ", "GOOGL", "Alphabet", "Communication Services", "US02079K3059", "285.00", 36_000_000),
    ("NASDAQ", "INTC", "Intel", "Technology", "US4581401001", "36.00", 90_000_000),
    ("NASDAQ", "META", "Meta Platforms", "Communication Services", "US30303M1027", "600.00", 17_000_000),
    ("NASDAQ", "MSFT", "Microsoft", "Technology", "US5949181045", "490.00", 22_000_000),
    ("NASDAQ", "NVDA", "NVIDIA", "Technology", "US67066G1040", "185.00", 190_000_000),
    ("NASDAQ", "QQQ", "Invesco QQQ Trust", "Funds", "US46090E1038", "605.00", 55_000_000),
    ("NASDAQ", "TSLA", "Tesla", "Consumer Discretionary", "US88160R1014", "405.00", 85_000_000),
    ("NYSE", "AIG", "American International Group", "Financials", "US0268747849", "77.00", 4_300_000),
    ("NYSE", "BRK.B", "Berkshire Hathaway", "Financials", "US0846707026", "505.00", 4_800_000),
    ("NYSE", "DIS", "Walt Disney", "Communication Services", "US2546871060", "105.00", 11_000_000),
    ("NYSE", "IBM", "International Business Machines", "Technology", "US4592001014", "300.00", 4_500_000),
    ("NYSE", "JNJ", "Johnson & Johnson", "Health Care", "US4781601046", "200.00", 8_500_000),
    ("NYSE", "JPM", "JPMorgan Chase", "Financials", "US46625H1005", "300.00", 8_800_000),
    ("NYSE", "KO", "Coca-Cola", "Consumer Staples", "US1912161007", "71.00", 16_000_000),
    ("NYSE", "SPY", "SPDR S&P 500 ETF Trust", "Funds", "US78462F1030", "665.00", 75_000_000),
    ("NYSE", "V", "Visa", "Financials", "US92826C8394", "330.00", 6_500_000),
    ("NYSE", "XOM", "Exxon Mobil", "Energy", "US30231G1022", "117.00", 15_000_000),
)
US_TICK = money("0.01")
"""Source: SEC Rule 612: quotes at a dollar or more move in cents."""

# Indices by their names at NSE and BSE without spaces, among them those of the recorded files and of chart vendors.
_INDEX_NAMES = """
NIFTY NIFTY50 NIFTYNEXT50 NIFTYJR NIFTYJUNIOR JUNIORNIFTY NIFTY100 NIFTY200 NIFTY500 NIFTYMIDCAP50 NIFTYMIDCAP100
NIFTYMIDCAP150 NIFTYMIDCAPSELECT NIFTYMIDSELECT MIDCPNIFTY NIFTYSMALLCAP50 NIFTYSMALLCAP100 NIFTYSMALLCAP250
NIFTYSMLCAP100 NIFTYMIDSMALLCAP400 NIFTYLARGEMIDCAP250 NIFTYTOTALMARKET
NIFTYBANK BANKNIFTY NIFTYPSUBANK NIFTYPVTBANK NIFTYPRIVATEBANK NIFTYFINSERVICE NIFTYFINANCIALSERVICES FINNIFTY
NIFTYAUTO NIFTYCOMMODITIES NIFTYCONSUMERDURABLES NIFTYCONSRDURBL NIFTYCONSUMPTION NIFTYCPSE NIFTYENERGY NIFTYFMCG
NIFTYHEALTHCARE NIFTYINFRA NIFTYINFRASTRUCTURE NIFTYIT CNXIT NIFTYMEDIA NIFTYMETAL NIFTYMNC NIFTYOILANDGAS
NIFTYOIL&GAS NIFTYPHARMA NIFTYPSE NIFTYREALTY NIFTYSERVSECTOR NIFTYSERVICESSECTOR
CNXNIFTY CNXAUTO CNXBANK CNXENERGY CNXFINANCE CNXFMCG CNXINFRA CNXMEDIA CNXMETAL CNXPHARMA CNXPSUBANK CNXREALTY
INDIAVIX VIX GIFTNIFTY SGXNIFTY
SENSEX BSESENSEX SENSEX30 SENSEX50 BANKEX BSEBANKEX BSE100 BSE200 BSE500 BSEMIDCAP BSESMALLCAP
"""


# Kite's number of an index -> NSE's own, which other brokers pass on. Source: contract masters of SmartAPI, 2026-10.
_NSE_INDICES = {
    1001: 26000, 1015: 26008, 1016: 26009, 1023: 26021, 1025: 26023, 1029: 26029, 1030: 26030, 1035: 26017,
}  # fmt: skip


def is_index(name: str) -> bool:
    """Whether a name means an NSE or BSE index, however it is spelt: `NIFTY 50`, `NSE:BANKNIFTY`, `india vix`."""
    return re.sub(r"[\s_-]+", "", name.rpartition(":")[2]).upper() in _INDICES_KNOWN


def members(index: str) -> tuple[str, ...]:
    """The symbols of an index's shares, however it is spelt. Raises BadValue: an index whose members are not known."""
    if re.sub(r"[\s_-]+", "", index.rpartition(":")[2]).upper() not in ("NIFTY", "NIFTY50"):
        raise BadValue("index", index[:40], "an index whose members are known: NIFTY 50")
    return tuple(listing.instrument.symbol for listing in NIFTY50 if listing.instrument.kind is not Kind.INDEX)


def universe(wanted: str | Sequence[str]) -> Universe:
    """The instruments of `listings`, as a universe. Raises BadValue."""
    return Universe(listing.instrument for listing in listings(wanted))


def listings(wanted: str | Sequence[str]) -> tuple[Listing, ...]:
    """The listings of a universe's name, or of a list of built-in symbols, with ids 0..n-1. Raises BadValue."""
    if isinstance(wanted, str):
        if wanted not in UNIVERSES:
            raise BadValue("universe", wanted, f"a universe's name ({', '.join(UNIVERSES)}) or a list of symbols")
        return UNIVERSES[wanted]
    if not wanted:
        raise BadValue("universe", [], "at least one symbol")
    found = [_find(symbol) for symbol in wanted]
    symbols = [listing.instrument.symbol for listing in found]
    twice = next((s for s in symbols if symbols.count(s) > 1), None)
    if twice:
        raise BadValue("universe", twice, "every symbol once")
    return tuple(_numbered(i, listing) for i, listing in enumerate(found))


def nifty50() -> list[Instrument]:
    """The shares and indices of the built-in universe, ids 0..n-1."""
    return [listing.instrument for listing in NIFTY50]


def reference_price(symbol: str) -> Money:
    """A plausible previous close of a built-in symbol. Raises UnknownSymbol."""
    return _find(symbol).reference_price


def average_volume(symbol: str) -> int:
    """A plausible day's shares of a built-in symbol, 0 for an index. Raises UnknownSymbol."""
    return _find(symbol).daily_volume


def _share(number: int, row: tuple[str, str, str, str, int, str, int]) -> Listing:
    ticker, name, sector, isin, token, rupees, volume = row
    price = money(rupees)
    instrument = Instrument(
        id=number,
        symbol=f"NSE:{ticker}",
        name=name,
        sector=sector,
        isin=isin,
        tick_size=tick_size(price),
        tokens={"kite": token * 256 + SHARES, "mstock": f"1|{token}", "flattrade": f"NSE|{token}"},
    )
    return Listing(instrument=instrument, reference_price=price, daily_volume=volume)


def _index(number: int, row: tuple[str, str, int, str]) -> Listing:
    ticker, name, token, points = row
    instrument = Instrument(
        id=number,
        symbol=f"NSE:{ticker}",
        name=name,
        kind=Kind.INDEX,
        tokens={"kite": token * 256 + INDICES, "mstock": f"1|{token}", "flattrade": f"NSE|{_NSE_INDICES[token]}"},
    )
    return Listing(instrument=instrument, reference_price=money(points), daily_volume=0)


def _us(number: int, row: tuple[str, str, str, str, str, str, int]) -> Listing:
    exchange, ticker, name, sector, isin, dollars, volume = row
    instrument = Instrument(
        id=number,
        symbol=f"{exchange}:{ticker}",
        name=name,
        sector=sector,
        isin=isin,
        tick_size=US_TICK,
        tokens={"polygon": ticker, "finnhub": ticker},
    )
    return Listing(instrument=instrument, reference_price=money(dollars), daily_volume=volume)


def _find(symbol: str) -> Listing:
    wanted = symbol.strip().upper()
    known = (_BY_SYMBOL.get(f"{exchange}{wanted}") for exchange in ("", "NSE:", "NASDAQ:", "NYSE:"))
    listing = next((one for one in known if one is not None), None)
    if listing is None:
        near = get_close_matches(wanted if ":" in wanted else f"NSE:{wanted}", _BY_SYMBOL, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UnknownSymbol("symbol", symbol, f"{hint}one of the {len(LISTINGS)} built-in symbols, like NSE:RELIANCE")
    return listing


def _numbered(number: int, listing: Listing) -> Listing:
    return listing.model_copy(update={"instrument": listing.instrument.model_copy(update={"id": number})})


NIFTY50: tuple[Listing, ...] = (
    *(_share(i, row) for i, row in enumerate(_SHARES)),
    *(_index(i, row) for i, row in enumerate(_INDICES, len(_SHARES))),
)

US20: tuple[Listing, ...] = tuple(_us(i, row) for i, row in enumerate(_US))
"""Twenty shares, and the two funds that stand for the market."""

UNIVERSES: dict[str, tuple[Listing, ...]] = {"nifty50": NIFTY50, "us20": US20}

LISTINGS = (*NIFTY50, *US20)
"""Everything built in; the ids are those of its own universe."""

_INDICES_KNOWN = frozenset(_INDEX_NAMES.split())

_BY_SYMBOL = {listing.instrument.symbol: listing for listing in LISTINGS}
