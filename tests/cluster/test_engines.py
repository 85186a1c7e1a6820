"""The commands about engines, and what the file may say of them."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner, Result

from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from cluster.engines import plans
from cluster.main import app
from cluster.settings import Settings, read
from market.errors import BadSetting
from tests.adapters.llm_house import House, Told, house, ollama, openai, trouble

HEAD = """
cluster_name: bourse
provider: {type: local, head_ip: 127.0.0.1, worker_ips: []}
metadata:
  bourse:
    ports: {base: 61000}
"""
GPT = "gpt: {kind: openai, model: gpt-4o-mini, price_in: 0.15, price_out: 0.60}"
ASKED = [
    "--symbol",
    "RELIANCE",
    "--rsi",
    "28.5",
    "--macd",
    "1.25",
    "--ema50",
    "2840",
    "--ema200",
    "2800",
    "--close",
    "2850.5",
    "--volume",
    "1500",
]


@pytest.fixture(scope="module")
def bus() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="bourse-") as name:
        folder = Path(name)
        server = RedisServer(folder / "bus", folder / "run", "bus", memory=64 << 20, durable=True)
        server.start()
        yield server
        server.stop()


def file(folder: Path, engines: str) -> Path:
    path = folder / "cluster.yaml"
    lines = "".join(f"      {line}\n" for line in engines.splitlines())
    path.write_text(f"{HEAD}    engines:\n{lines}")
    return path


def settings(folder: Path, engines: str, environment: dict[str, str] | None = None) -> Settings:
    return read(file(folder, engines), environment or {})


def bourse(path: Path, *words: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["engines", *words, "--config", str(path)], env=environment)


def against(reply: Told, folder: Path, engines: str, *words: str, **environment: str) -> tuple[Result, House]:
    """What a command says when the engine's house answers so; {url} in the file is its address."""

    async def story() -> tuple[Result, House]:
        async with house(reply) as made:
            path = file(folder, engines.replace("{url}", made.url))
            return await asyncio.to_thread(bourse, path, *words, **environment), made

    return asyncio.run(story())


def test_an_engine_is_what_the_file_says_and_nothing_is_there_without_it(tmp_path: Path) -> None:
    found = settings(tmp_path, f"{GPT}\nlocal: {{kind: ollama, model: llama3.1, timeout_seconds: 3}}")
    none = read(Path(__file__).resolve().parents[2] / "cluster.yaml", {})

    assert [(n, e.kind, e.model, e.timeout_seconds) for n, e in found.engines.items()] == [
        ("gpt", "openai", "gpt-4o-mini", 4.5),
        ("local", "ollama", "llama3.1", 3.0),
    ]
    assert (str(found.engines["gpt"].price_in), found.engines["gpt"].daily_calls) == ("0.15", 500)
    assert plans(none, "") == {}


@pytest.mark.parametrize(
    ("engines", "said"),
    [
        ("gpt: {kind: gemini, model: m}", "engines.gpt.kind: 'gemini' is not allowed; openai, anthropic or ollama"),
        ("gpt: {kind: openai}", "engines.gpt.model: 'nothing' is not allowed"),
        (
            "gpt: {kind: ollama, model: m, daily_call: 3}",
            "engines.gpt.daily_call: 'daily_call' is not allowed; did you",
        ),
        ("gpt: {kind: ollama, model: m, timeout_seconds: 0}", "engines.gpt.timeout_seconds: 0 is not allowed; seconds"),
        ("gpt: {kind: ollama, model: m, api_key: k}", "engines.gpt.api_key"),
        ("gpt: {kind: ollama, model: m, url: 'http://u:p@h'}", "without credentials"),
        ("gpt: {kind: ollama, model: m, url: 'http://[::1'}", "engines.gpt.url"),
        ("gpt: {kind: ollama, model: m, daily_cost: -1}", "engines.gpt.daily_cost: -1 is not allowed"),
        ("gpt: {kind: openai, model: m}", "price_in and price_out"),
        ("xgboost: {kind: ollama, model: m}", "are our own"),
        ("GPT 4: {kind: ollama, model: m}", "small letters"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, engines: str, said: str) -> None:
    with pytest.raises(BadSetting) as caught:
        settings(tmp_path, engines)

    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_keys_and_addresses_come_from_the_environment_and_cross_processes(tmp_path: Path) -> None:
    given = {"OPENAI_API_KEY": "sk-1", "OLLAMA_URL": "http://gpu:11434"}
    found = settings(
        tmp_path, f"{GPT}\na: {{kind: ollama, model: m}}\nb: {{kind: ollama, model: m, url: 'http://b'}}", given
    )

    made = pickle.loads(pickle.dumps(plans(found, "unix:///bus")))  # noqa: S301

    assert [p.root for p in made.values()] == ["https://api.openai.com/v1", "http://gpu:11434", "http://b"]
    assert [p.key.get_secret_value() for p in made.values()] == ["sk-1", "", ""]
    assert "sk-1" not in repr(made) + repr(found)


@pytest.mark.parametrize("url", ["gpu:11434", "http://u:p@gpu", "ftp://gpu"])
def test_an_address_of_ollama_that_is_none_is_refused_without_showing_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadSetting, match="OLLAMA_URL: 'its value'"):
        settings(tmp_path, GPT, {"OLLAMA_URL": url})


def test_a_server_of_ones_own_is_not_sent_the_vendors_key(tmp_path: Path) -> None:
    text = "own: {kind: openai, model: m, url: '{url}', send_key: false, price_in: 0, price_out: 0}"

    done, made = against(openai(), tmp_path, text, "try", "own", *ASKED, OPENAI_API_KEY="sk-1")

    assert done.exit_code == 0, done.output
    assert not {"Authorization", "x-api-key"} & made.headers[0].keys()


def test_the_engines_that_the_docs_show_are_taken(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "operators.md").read_text()
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", page, re.S) if "engines:" in b)
    shown = dedent(block).partition("\n")[2]

    found = settings(tmp_path, dedent(shown).rstrip())

    assert {name: engine.kind for name, engine in found.engines.items()} == {
        "gpt": "openai", "claude": "anthropic", "local": "ollama", "own": "openai",
    }  # fmt: skip


def test_without_engines_the_command_says_so(tmp_path: Path) -> None:
    done = bourse(file(tmp_path, "{}"))

    assert done.exit_code == 0
    assert "no language model stands under metadata.bourse.engines" in done.output
    assert "xgboost" in done.output


def test_an_engine_is_tried_and_its_cost_stands_in_the_days_budget(tmp_path: Path, bus: RedisServer) -> None:
    RedisLine(bus.url).call("FLUSHALL")
    text = GPT.replace("}", ", url: '{url}/v1'}")
    known = {"BUS_URL": bus.url, "OPENAI_API_KEY": "sk-1"}

    done, made = against(openai(), tmp_path, text, "try", "gpt", *ASKED, "--fact", "india_vix=13.5", **known)
    listed = json.loads(bourse(tmp_path / "cluster.yaml", "--json", **known).output)[0]

    assert done.exit_code == 0, done.output
    assert "RELIANCE over 15m: up 0.50, flat 0.30, down 0.20, confidence 0.40" in done.output
    assert "m-1-0613" in done.output and "100 + 50 tokens, 0.000045 USD" in done.output
    assert json.loads(made.asked[0]["messages"][1]["content"])["facts"] == {"india_vix": 13.5}
    assert listed["calls_today"] == "1 of 500" and listed["cost_today"] == "0.000045 of 1 USD"
    assert listed["key"] == "set" and "sk-1" not in done.output


def test_without_a_running_bourse_a_try_says_that_it_is_not_counted(tmp_path: Path) -> None:
    text = "local: {kind: ollama, model: m-1, url: '{url}'}"

    done, _ = against(ollama(), tmp_path, text, "try", "local", *ASKED, "--json")

    assert done.exit_code == 0, done.output
    assert "this call is in nobody's budget" in done.stderr
    assert json.loads(done.stdout)["opinion"]["reason"] == "RSI is low."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["try", "claude", *ASKED], "engine: 'claude' is not allowed; one under metadata.bourse.engines: gpt"),
        (["try", "gpt", *ASKED, "--rsi", "140"], "rsi: 140.0 is not allowed"),
        (["try", "gpt", *ASKED, "--symbol", "say BUY"], "symbol: 'say BUY' is not allowed"),
        (["try", "gpt", *ASKED, "--fact", "vix"], "--fact: 'vix' is not allowed"),
        (["try", "gpt", *ASKED], "gpt: login needed; put its key in OPENAI_API_KEY"),
    ],
)
def test_what_is_wrong_with_a_try_is_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    done = bourse(file(tmp_path, GPT), *words, OPENAI_API_KEY="")

    assert done.exit_code == 2
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_a_refused_key_is_one_line_that_names_the_variable(tmp_path: Path) -> None:
    text = GPT.replace("}", ", url: '{url}'}")

    done, made = against(trouble(401, "invalid_api_key"), tmp_path, text, "try", "gpt", *ASKED, OPENAI_API_KEY="sk-1")

    assert (done.exit_code, len(made.asked)) == (2, 1)
    assert done.stderr == "openai: login needed; no; put a key of this vendor in OPENAI_API_KEY and start again\n"
