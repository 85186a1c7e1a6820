"""What the doctor says of a machine, and what the command line does with it and with a wrong config."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster import doctor
from cluster.doctor import GIB, Finding
from cluster.main import app
from cluster.ports import Ports

ROOT = Path(__file__).resolve().parents[2]
HEAD = "cluster_name: bourse\nprovider: {type: local, head_ip: 127.0.0.1, worker_ips: []}\n"


@pytest.mark.parametrize(
    ("finding", "state"),
    [
        (doctor.python((3, 11, 7)), "ok"),
        (doctor.python((3, 12, 0)), "fail"),
        (doctor.cores(2), "ok"),
        (doctor.cores(1), "warn"),
        (doctor.memory(8 * GIB), "ok"),
        (doctor.memory(3 * GIB), "warn"),
        (doctor.memory(GIB), "fail"),
        (doctor.shared_memory(64 << 20, 256 << 20), "warn"),
        (doctor.shared_memory(512 << 20, 256 << 20), "ok"),
        (doctor.disk(Path("data"), 6 * GIB), "ok"),
        (doctor.disk(Path("data"), 2 * GIB), "warn"),
        (doctor.disk(Path("data"), GIB // 2), "fail"),
        (doctor.open_files(1_048_576), "ok"),
        (doctor.open_files(4096), "warn"),
        (doctor.open_files(1024), "fail"),
        (doctor.clock(datetime(2026, 11, 20, 4, tzinfo=UTC)), "ok"),
        (doctor.clock(datetime(1970, 1, 1, tzinfo=UTC)), "fail"),
    ],
)
def test_a_machine_is_judged_and_what_is_wrong_has_a_remedy(finding: Finding, state: str) -> None:
    assert finding.state == state
    assert bool(finding.remedy) is (state != "ok")


def test_a_taken_port_is_named_with_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        base = other.getsockname()[1] - 1

        finding = doctor.ports(Ports(base=base), doctor.listeners())

    assert finding.state == "fail"
    assert f"{base + 1} (dashboard) is taken by process {os.getpid()}" in finding.detail


def test_free_ports_and_those_of_a_running_bourse_are_fine() -> None:
    ports = Ports(base=20_000)

    assert doctor.ports(ports, {19_999: "x", 20_220: "y"}).state == "ok"
    assert doctor.ports(ports, {20_000: "process 7 (bourse)"}, ours=7).state == "ok"
    assert doctor.ports(ports, dict.fromkeys(range(20_020, 20_090), "x")).state == "warn"


def test_the_servers_that_come_with_the_wheels_are_found_and_run() -> None:
    assert doctor.redis().state == "ok"
    assert doctor.haproxy().state == "ok"


def test_a_run_folder_that_is_something_else_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert doctor.run_folder(tmp_path / "file").state == "fail"
    assert doctor.run_folder(tmp_path / "new").state == "ok"
    assert not (tmp_path / "new").exists()


def test_packages_that_differ_from_their_pins_are_named(tmp_path: Path) -> None:
    info = tmp_path / "pinned-1.dist-info"
    info.mkdir()
    pins = ["typer==0.0.1", "not-there==1", "pyyaml", 'pytest==0.0.1 ; extra == "test"']
    requires = "".join(f"Requires-Dist: {pin}\n" for pin in pins)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pinned\nVersion: 1\n{requires}")
    code = "from cluster.doctor import packages\nfor f in packages('pinned'): print(f.state, f.detail)"

    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert said.startswith("fail typer is ")
    assert "not ==0.0.1; not-there is missing" in said
    assert "pytest" not in said
    assert "yaml" not in said


def test_check_prints_where_everything_is(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(HEAD + "metadata: {bourse: {ports: {base: 21000}, stores: {lake: 's3://b/l'}}}\n")
    secrets = {"KITE_API_SECRET": "hush", "CACHE_URL": "redis://:hush@cache.example:6379/0"}

    said = CliRunner().invoke(app, ["check", "--config", str(file)], env=secrets)

    assert said.exit_code == 0, said.output
    for line in (
        str(file),
        f"our own in {tmp_path}/data/bus, up to 512 MiB",
        "redis://cache.example:6379/0",
        "s3://b/l",
        "http://127.0.0.1:21000",
        "replica_http 21020 to 21119, replica_grpc 21120 to 21204, exchanges 21205 to 21219, workers 21220 to 21519",
    ):
        assert line in said.output
    assert "hush" not in said.output


def test_check_prints_the_settings_of_each_feed_and_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    feeds = "{grace_seconds: 1.5, return_after_seconds: 31, primary: a, sources: {a: {kind: kite, fallback: b}, "
    feeds += "b: {kind: simulated, dialect: mstock, mute_after_seconds: 4}, c: {kind: kite, url: 'ws://127.0.0.1:9/'}}}"
    file.write_text(HEAD + f"metadata: {{bourse: {{feeds: {feeds}}}}}\n")

    said = CliRunner().invoke(app, ["check", "--config", str(file)])

    found = {tuple(line.split()) for line in said.stdout.splitlines()}
    assert said.exit_code == 0, said.output
    for line in (
        "feed a kite, primary, fallback b", "feed b simulated, standby, fallback none", "feed b.dialect mstock",
        "feed b.mute_after_seconds 4.0", "feed c kite, spare, fallback none", "feed c.url ws://127.0.0.1:9/",
        "feeds.grace_seconds 1.5", "feeds.return_after_seconds 31.0", "feeds.arbitrate False",
    ):  # fmt: skip
        assert tuple(line.split()) in found, line


@pytest.mark.parametrize("command", ["check", "doctor"])
def test_a_wrong_config_is_one_line_on_the_error_stream_and_exit_code_2(tmp_path: Path, command: str) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(HEAD + "metadata: {bourse: {partitions: 0}}\n")

    said = CliRunner().invoke(app, [command, "--config", str(file)])

    assert said.exit_code == 2
    assert said.stdout == ""
    assert said.stderr == "cluster.yaml: metadata.bourse.partitions: 0 is not allowed; a whole number, 1 to 64\n"
