"""Repairs: whose history is asked, and where it answers."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from cluster.repairs import plan_of
from cluster.settings import read
from market.vendors import VENDORS
from pipelines.repair import VENDORS as HISTORIES
from pipelines.repair import RepairPlan

DAY = date(2026, 11, 20)
FILE = """
cluster_name: bourse
provider: {{type: local, head_ip: 127.0.0.1, worker_ips: []}}
metadata:
  bourse:
    ports: {{base: 21000}}
    stores: {{data: {folder}}}
    feeds:
      primary: main
      sources:
        first: {{kind: simulated}}
        main: {main}
"""


def plan(folder: Path, main: str) -> RepairPlan:
    file = folder / "cluster.yaml"
    file.write_text(FILE.format(folder=folder / "data", main=main))
    return plan_of(read(file, {}), ("NSE:TCS",), (DAY, DAY), 0, again=False)


@pytest.mark.parametrize(
    ("main", "vendor", "root"),
    [
        ("{kind: simulated}", "kite", "http://127.0.0.1:21205"),
        ("{kind: simulated, dialect: mstock}", "mstock", "http://127.0.0.1:21205"),
        ("{kind: simulated, dialect: flattrade}", "flattrade", "http://127.0.0.1:21205/PiConnectAPI"),
        ('{kind: simulated, url: "ws://127.0.0.1:21300/ws"}', "kite", "http://127.0.0.1:21300"),
    ],
)
def test_the_history_is_that_of_the_primary_and_stands_where_its_exchange_does(
    tmp_path: Path, main: str, vendor: str, root: str
) -> None:
    found = plan(tmp_path, main)

    assert (found.vendor, found.root) == (vendor, root)


def test_every_vendor_has_a_history() -> None:
    assert set(HISTORIES) == set(VENDORS)
