"""The one config: what it comes to, and that whatever is wrong with it is one line that names the place."""

from __future__ import annotations

import os
import pickle
import re
import stat
import tempfile
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from adapters.redis_line import without_password
from cluster.document import check_with_ray
from cluster.ports import SPAN, Ports
from cluster.settings import Secrets, Settings, private_folder, read, temporary
from market.errors import BadSetting, StoreRefused
from market.vendors import PRINTERS

OURS = Path(__file__).resolve().parents[2] / "cluster.yaml"
HEAD = """
cluster_name: bourse
provider: {type: local, head_ip: 127.0.0.1, worker_ips: []}
"""


def settings(folder: Path, ours: str = "", environment: dict[str, str] | None = None) -> Settings:
    """What a file comes to that says this under `metadata: bourse:`, one key a line."""
    lines = "".join(f"    {line}\n" for line in ours.splitlines())
    file = folder / "cluster.yaml"
    file.write_text(f"{HEAD}metadata:\n  bourse:\n{lines}")
    return read(file, environment or {})


def complaint(folder: Path, text: str, environment: dict[str, str] | None = None) -> str:
    """The line that a whole file is answered with."""
    file = folder / "cluster.yaml"
    file.write_text(text)
    with pytest.raises(BadSetting) as caught:
        read(file, environment or {})
    return str(caught.value)


def test_our_file_is_one_that_ray_up_takes() -> None:
    document = yaml.safe_load(OURS.read_text())

    prepared = prepare_config(document)
    validate_config(prepared)
    check_with_ray(OURS)

    assert prepared["metadata"] == document["metadata"]


def test_our_file_shows_every_default_as_it_is(tmp_path: Path) -> None:
    written = read(OURS, {})
    left_out = settings(tmp_path)

    assert written.model_dump(exclude={"file"}) == left_out.model_dump(exclude={"file"})


def test_our_file_names_every_secret_of_the_environment() -> None:
    words = set(re.findall(r"\w+", OURS.read_text()))

    assert {name.upper() for name in Secrets.model_fields} <= words


def test_the_ports_in_the_start_commands_are_those_of_the_base() -> None:
    document = yaml.safe_load(OURS.read_text())
    ports = read(OURS, {}).ports

    head, worker = document["head_start_ray_commands"][0], document["worker_start_ray_commands"][0]

    assert f"--port={ports.gcs} " in head
    assert f"--dashboard-port={ports.dashboard} " in head
    assert all(f"--metrics-export-port={ports.metrics} " in command for command in (head, worker))
    assert f":{ports.gcs} " in worker


def test_paths_are_seen_from_the_file_and_the_lake_may_be_far(tmp_path: Path) -> None:
    near = settings(tmp_path, "stores: {data: d, lake: ../lake}")
    far = settings(tmp_path, "stores: {lake: 's3://bucket/lake'}")

    assert near.folder == tmp_path
    assert near.data == tmp_path / "d"
    assert near.bus_folder == tmp_path / "d" / "bus"
    assert near.lake == str(tmp_path / ".." / "lake")
    assert far.lake == "s3://bucket/lake"


def test_values_are_read_as_they_are_meant(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        """universe: [NSE:TCS, NIFTY 50]
feeds:
  primary: zerodha
  grace_seconds: 0
  sources:
    zerodha: {kind: kite, fallback: sim, mode: quote}
    sim: {kind: simulated, speed: max, seed: 3}
partitions: 64
actors: {candles: {count: 64, memory: 64 MiB}}
stores: {bus_memory: 2GiB}
object_store: 100000000
log_level: debug""",
    )

    assert [i.symbol for i in found.instruments()] == ["NSE:TCS", "NSE:NIFTY 50"]
    assert found.feeds.sources["zerodha"].fallback == "sim"
    assert found.feeds.sources["sim"].speed == "max"
    assert found.actors.candles.memory == 67_108_864
    assert found.stores.bus_memory == 2_147_483_648
    assert found.object_store == 100_000_000


@pytest.mark.parametrize(
    "ours",
    [
        "feeds: {primary: a, sources: {a: {kind: kite, fallback: b}, b: {kind: simulated, dialect: mstock}}}",
        "universe: us20\nfeeds: {primary: a, sources: {a: {kind: polygon}, b: {kind: simulated, dialect: polygon}}}",
    ],
)
def test_feeds_that_tell_trades_in_one_way_stand_together(tmp_path: Path, ours: str) -> None:
    found = settings(tmp_path, ours).feeds.sources

    assert {source.vendor in PRINTERS for source in found.values()} == {"us20" in ours}


@pytest.mark.parametrize("ours", ["", "metadata: {}\n", "metadata: {bourse: }\n", "metadata: {team: quant}\n"])
def test_a_file_that_says_nothing_of_us_is_a_file_of_defaults(tmp_path: Path, ours: str) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(HEAD + ours)

    found = read(file, {})

    assert found.partitions == 2
    assert found.feeds.primary == "sim"


KITE_ALONE = "feeds: {primary: k, sources: {k: {kind: kite}}}\n"


@pytest.mark.parametrize(
    ("ours", "imagined"),
    [
        ("", True),
        ("ipo: {sources: {nse: {}}}", False),
        ("ipo: {demo: false}", False),
        (KITE_ALONE, False),
        (f"{KITE_ALONE}ipo: {{demo: true}}", True),
    ],
)
def test_issues_are_imagined_where_everything_is_and_no_source_is_named(
    tmp_path: Path, ours: str, imagined: bool
) -> None:
    assert settings(tmp_path, ours).ipo_demo is imagined


SIM = "feeds: {sources: {sim: {kind: simulated, %s}}}"
JOB = "timetable: {a: {%s}}"
TWO = "feeds: {primary: a, sources: {a: {%s}, b: {%s}}}"
US = "universe: [NASDAQ:AAPL]\n"
KITE = "feeds: {primary: k, sources: {k: {kind: kite, %s}}}"
SLOW = "requests_per_second: %s, burst: 1, connections: 1, symbols: 1"
TIERED = f"tiers: {{anonymous: {{{SLOW}}}, standard: {{{SLOW % 1}}}, premium: {{{SLOW % 1}}}}}"


@pytest.mark.parametrize(
    ("ours", "path", "says"),
    [
        ("partitons: 2", "partitons", "'partitons' is not allowed; did you mean partitions?"),
        ("partitions: 0", "partitions", "0 is not allowed; a whole number, 1 to 64"),
        ("partitions: 65", "partitions", "1 to 64"),
        ("predictor: {horizons: [5m]}", "predictor.horizons", "a list with 15m, which the signals rest on"),
        ("engines: {gpt: {kind: openai, model: m, timeout_seconds: 60}}", "engines.gpt.price_in", "a million tokens"),
        ("predictor: {horizons: [15m, 15m]}", "predictor.horizons", "a list with each of them once"),
        ("partitions: '2'", "partitions", "'2' is not allowed"),
        ("partitions: 2.5", "partitions", "2.5 is not allowed"),
        ("partitions: true", "partitions", "True is not allowed"),
        ("partitions: null", "partitions", "'nothing' is not allowed"),
        ("partitions: [1, 2]", "partitions", "'a list' is not allowed"),
        ("universe: nifty500", "universe", "'nifty500' is not allowed; a universe's name (nifty50, us20)"),
        ("universe: [NSE:TCS, NSE:RELIANC]", "universe.1", "did you mean NSE:RELIANCE?"),
        ("universe: [NSE:TCS, 5]", "universe.1", "5 is not allowed"),
        ("universe: []", "universe", "at least one symbol"),
        ("universe: 50", "universe", "50 is not allowed"),
        ("ports: {base: 80}", "ports.base", "80 is not allowed; a whole number, 1024 to 65016"),
        ("ports: {base: 65017}", "ports.base", "1024 to 65016"),
        ("ports: {bsae: 8000}", "ports.bsae", "did you mean base?"),
        ("ports: 8000", "ports", "8000 is not allowed; a mapping of base"),
        ("feeds: {primary: kite}", "feeds.primary", "'kite' is not allowed; a feed under sources: sim"),
        ("feeds: {sources: {}}", "feeds.sources", "1 to 15 feeds"),
        ("feeds: {sources: {sim: simulated}}", "feeds.sources.sim", "a mapping of kind, url, fallback"),
        ("feeds: {sources: {sim: {}}}", "feeds.sources.sim.kind", "'nothing' is not allowed; simulated, kite"),
        ("feeds: {sources: {sim: {kind: replay}}}", "feeds.sources.sim.kind", "simulated, kite, flattrade"),
        ("feeds: {sources: {Sim 1: {kind: kite}}, primary: Sim 1}", "feeds.sources.Sim 1", "small letters"),
        ("feeds: {grace_seconds: 60}", "feeds.grace_seconds", "0 to below 60"),
        ("feeds: {grace_seconds: .nan}", "feeds.grace_seconds", "0 to below 60"),
        (SIM % "fallback: kte", "feeds.sources.sim.fallback", "'kte' is not allowed; another feed"),
        (SIM % "fallback: sim", "feeds.sources.sim.fallback", "'sim' is not allowed; another feed"),
        (SIM % "mode: fast", "feeds.sources.sim.mode", "full, quote or ltp"),
        (SIM % "speed: 0", "feeds.sources.sim.speed", "0 is not allowed; a number above 0"),
        (SIM % "speed: fast", "feeds.sources.sim.speed", "or max"),
        (SIM % "speed: .inf", "feeds.sources.sim.speed", "or max"),
        (SIM % "sped: 2", "feeds.sources.sim.sped", "did you mean speed?"),
        (SIM % "seed: -1", "feeds.sources.sim.seed", "0 or more"),
        (SIM % "mute_after_seconds: 0", "feeds.sources.sim.mute_after_seconds", "above 0"),
        (KITE % "speed: 2", "feeds.sources.k.speed", "only a simulated feed has one"),
        (KITE % "url: 'https://kite.trade'", "feeds.sources.k.url", "ws:// or wss://"),
        (
            KITE.replace("kite", "polygon") % "",
            "feeds.sources.k.kind",
            "a vendor with instruments of NSE: flattrade, kite",
        ),
        (
            US + KITE % "",
            "feeds.sources.k.kind",
            "'kite' is not allowed; a vendor with instruments of NASDAQ: fin",
        ),
        ("universe: us20", "feeds.sources.sim.dialect", "with instruments of NASDAQ and NYSE: finnhub, polygon"),
        (SIM % "dialect: finnhub", "feeds.sources.sim.dialect", "instruments of NSE: flattrade, kite, mstock"),
        (TWO % ("kind: kite", "kind: simulated, dialect: polygon"), "feeds.sources.b.dialect", "instruments of NSE"),
        (US + TWO % ("kind: polygon", "kind: finnhub"), "feeds.sources.b.kind", "polygon, as the feed a: what both"),
        (US + TWO % ("kind: finnhub", "kind: simulated, dialect: polygon"), "feeds.sources.b.dialect", "finnhub, as"),
        ("actors: {candles: {count: 3}}", "actors.candles.count", "1 to 2, the number of partitions"),
        ("actors: {candle: {count: 1}}", "actors.candle", "did you mean candles?"),
        ("actors: {feed: {count: 1}}", "actors.feed.count", "known keys here: num_cpus, memory"),
        ("actors: {feed: {num_cpus: -1}}", "actors.feed.num_cpus", "0 to 1024"),
        ("actors: {feed: {memory: 5 apples}}", "actors.feed.memory", "at least 16 MiB"),
        (TIERED % "1.0e-320", "tiers.anonymous.requests_per_second", "0.01 or more"),
        ("gateway: {replicas: 0}", "gateway.replicas", "1 to 1000"),
        ("stores: {lake: 'http://x/y'}", "stores.lake", "s3://bucket/path"),
        ("stores: {bus_memory: 1 MiB}", "stores.bus_memory", "at least 16 MiB"),
        ("retention: {ticks_minutes: 0}", "retention.ticks_minutes", "1 to 10080"),
        ("archive: {commit_seconds: 0}", "archive.commit_seconds", "0.1 to 3600"),
        ("snapshots: 5", "snapshots", "a mapping of seconds"),
        (JOB % "at: noon, do: compact", "timetable.a.at", "'noon' is not allowed; like 08:30 on session days"),
        (JOB % "cron: 61 * * * *, do: compact", "timetable.a.cron", "'61 * * * *' is not allowed; five fields of cron"),
        (JOB % "do: compact", "timetable.a", "'a mapping' is not allowed; one of at and cron"),
        (JOB % "at: 08:30 on session days", "timetable.a.do", "'nothing' is not allowed; the name of a job"),
        (JOB % "at: 08:30 on session days, do: dance", "timetable.a.do", "'dance' is not allowed; one of instruments"),
        (JOB % "at: 08:30 on session days, do: compact, misfire: run", "timetable.a.misfire", "catch_up or skip"),
        (JOB % "at: 08:30 on session days, do: compact, exchange: LSE", "timetable.a.exchange", "NSE"),
        (JOB % "at: 08:30 on session days, do: compact, tries: 0", "timetable.a.tries", "1 to 20"),
        (JOB % "att: 08:30 on session days", "timetable.a.att", "did you mean at?"),
        ("timetable: {A b: {at: 08:30 on session days, do: compact}}", "timetable.A b", "small letters"),
        ("timetable: {a: compact}", "timetable.a", "a mapping of at, cron, exchange, do"),
        ("timetable: compact", "timetable", "jobs by name"),
        ("object_store: 1 MiB", "object_store", "at least 80 MiB"),
        ("log_level: loud", "log_level", "debug, info, warning or error"),
        ("file: /etc/passwd", "file", "known keys here: universe"),
        ("secrets: {kite_api_key: abc}", "secrets", "known keys here: universe"),
        ("kite_api_secret: hush", "kite_api_secret", "known keys here"),
        ("ipo: {sources: {moneycontrol: {}}}", "ipo.sources.moneycontrol", "one of investorgain, ipowatch"),
        (
            "ipo: {sources: {nse: {url: ftp://a}}}",
            "ipo.sources.nse.url",
            "'ftp://a' is not allowed; an address like http",
        ),
        ("ipo: {sources: {nse: {url: 'http://me:pw@a'}}}", "ipo.sources.nse.url", "is not allowed; an address like"),
        ("ipo: {sources: {nse: {every_minutes: 1}}}", "ipo.sources.nse.every_minutes", "minutes, 5 to 10080"),
        ("ipo: {sources: {nse: {robot: false}}}", "ipo.sources.nse.robot", "did you mean robots?"),
        ("ipo: {sources: [nse]}", "ipo.sources", "any of investorgain, ipowatch"),
        ("ipo: {seed: -1}", "ipo.seed", "a whole number, 0 or more"),
        ("ipo: {spike_points: 0}", "ipo.spike_points", "points of the issue price, above 0 to 1000"),
        ("ipo: {relative_spike: 0}", "ipo.relative_spike", "a share of the premium like 0.08"),
        ("ipo: {relative_spike: .inf}", "ipo.relative_spike", "a share of the premium like 0.08"),
        ("ipo: {demo: true, sources: {nse: {}}}", "ipo.demo", "false or null where sources are named"),
    ],
)
def test_what_is_wrong_in_our_part_is_one_line_with_its_path(tmp_path: Path, ours: str, path: str, says: str) -> None:
    with pytest.raises(BadSetting) as caught:
        settings(tmp_path, ours)

    line = str(caught.value)
    assert line.startswith(f"cluster.yaml: metadata.bourse.{path}: ")
    assert says in line
    assert "\n" not in line
    assert "hush" not in line


@pytest.mark.parametrize(
    ("text", "start", "says"),
    [
        ("", "cluster.yaml: 'nothing'", "a mapping"),
        ("- a\n- b\n", "cluster.yaml: 'a list'", "a mapping"),
        ("just words", "cluster.yaml: 'a text'", "a mapping"),
        ("a: [1, 2\nb: 3\n", "cluster.yaml: line 2, column 2", "YAML"),
        ("metadata:\n\tbourse: 1\n", "cluster.yaml: line 2, column 1: 'a tab'", "indented with spaces"),
        ("a: &x [*x]\n", "cluster.yaml: ", "plain YAML"),
        ("a: !!python/object:os.system {}\n", "cluster.yaml: line 1", "YAML"),
        ("a: 1\x00", "cluster.yaml: ", "plain YAML"),
        (f"{HEAD}cluster_name: twice\n", "cluster.yaml: line 4, column 1: 'the key cluster_name twice'", "YAML"),
        (f"{HEAD}cluster_nam: x\n", "cluster.yaml: cluster_nam", "did you mean cluster_name?"),
        (f"{HEAD}bourse: {{}}\n", "cluster.yaml: bourse: 'bourse' is not allowed", "known keys here: cluster_name"),
        ("cluster_name: x\n", "cluster.yaml: provider: 'nothing'", "Ray needs this key"),
        (f"{HEAD}max_workers: many\n", "cluster.yaml: max_workers: 'many'", "Ray wants type integer"),
        (f"{HEAD}metadata: 5\n", "cluster.yaml: metadata: 5", "Ray wants type object"),
        (f"{HEAD}metadata: {{bouse: {{}}}}\n", "cluster.yaml: metadata.bouse", "did you mean bourse?"),
        (f"{HEAD}metadata: {{bourse: [1]}}\n", "cluster.yaml: metadata.bourse: 'a list'", "a mapping"),
    ],
)
def test_what_is_wrong_with_the_file_is_one_line(tmp_path: Path, text: str, start: str, says: str) -> None:
    line = complaint(tmp_path, text)

    assert line.startswith(start)
    assert says in line
    assert "\n" not in line


def test_a_file_that_is_not_there_or_no_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00a")

    for name, says in (("none.yaml", "No such file"), ("", "directory"), ("binary.yaml", "UTF-8")):
        with pytest.raises(BadSetting, match=says) as caught:
            read(tmp_path / name, {})
        assert "\n" not in str(caught.value)


def test_what_only_ray_can_tell_is_one_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(HEAD + "available_node_types: {head: {resources: {}, node_config: {}}}\n")

    with pytest.raises(BadSetting, match=r"Ray says: .*available_node_types is not supported") as caught:
        check_with_ray(file)

    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


def test_secrets_come_from_the_environment_and_are_never_shown(tmp_path: Path) -> None:
    environment = {
        "KITE_API_KEY": "key-hush",
        "KITE_API_SECRET": "secret-hush",
        "KITE_ACCESS_TOKEN": "token-hush",
        "BUS_URL": "redis://user:pass-hush@bus.example:6379/1",
        "CACHE_URL": "unix:///run/redis.sock",
    }

    found = settings(tmp_path, environment=environment)

    assert found.secrets.kite_api_secret is not None
    assert found.secrets.kite_api_secret.get_secret_value() == "secret-hush"
    assert found.secrets.bus_url is not None
    assert without_password(found.secrets.bus_url.get_secret_value()) == "redis://bus.example:6379/1"
    assert found.bus_folder is None
    assert found.cache_folder is None
    assert "hush" not in f"{found!r}{found}{found.model_dump_json()}"


def test_a_store_address_of_another_kind_is_refused_unseen(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"^BUS_URL: .*redis://HOST:PORT/DB, rediss:// or redis") as caught:
        settings(tmp_path, environment={"BUS_URL": "http://user:hush@example"})

    assert "hush" not in str(caught.value)


def test_a_temporary_folder_too_deep_for_sockets_is_passed_over(tmp_path: Path) -> None:
    before = tempfile.tempdir
    try:
        tempfile.tempdir = str(tmp_path)
        deep = temporary()
        tempfile.tempdir = "/dev/shm"  # noqa: S108
        short = temporary()
    finally:
        tempfile.tempdir = before

    assert (str(deep), str(short)) == ("/tmp", "/dev/shm")  # noqa: S108


def test_settings_are_frozen_and_cross_processes(tmp_path: Path) -> None:
    found = settings(tmp_path)

    with pytest.raises(ValueError, match="frozen"):
        found.partitions = 3  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 our own bytes


def test_all_ports_follow_from_the_base_and_none_is_given_twice() -> None:
    ports = Ports(base=20_000)

    single = list(ports.named().values())
    ranges = [range(first, last + 1) for first, last in ports.ranges().values()]
    every = single + [port for r in ranges for port in r]

    assert ports.http == 20_000
    assert ports.dashboard == 20_001
    assert ports.gcs == 20_009
    assert len(set(every)) == len(every)
    assert min(every) == 20_000
    assert max(every) == 20_000 + SPAN - 1


def test_the_run_folder_is_short_and_one_for_each_base_and_data(tmp_path: Path) -> None:
    one, other = settings(tmp_path), settings(tmp_path, "ports: {base: 9000}")
    beside = settings(tmp_path, "stores: {data: elsewhere}")

    assert len({one.run_folder, other.run_folder, beside.run_folder}) == 3
    assert one.run_folder == settings(tmp_path).run_folder
    assert re.fullmatch("bourse-8000-[0-9a-f]{10}", one.run_folder.name)
    assert len(str(one.run_folder)) < 60


def test_a_private_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    wide.mkdir(mode=0o755)

    made, taken = private_folder(tmp_path / "new"), private_folder(wide)

    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert stat.S_IMODE(taken.stat().st_mode) == 0o700


def test_a_private_folder_of_somebody_else_a_link_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    (tmp_path / "file").touch()

    with pytest.raises(StoreRefused, match="belongs to user"):
        private_folder(tmp_path / "theirs", user=os.getuid() + 1)
    for name in ("link", "file"):
        with pytest.raises(StoreRefused, match="no folder"):
            private_folder(tmp_path / name)
