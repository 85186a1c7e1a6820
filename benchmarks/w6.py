"""W6: who does not read: 1, 10 and 30 % of the sockets frozen or slow, and what the others notice of it.

As W5, one case with each share: `p99_ms` is of the sockets that read, beside the same with none frozen; memory is the
gateway's and HAProxy's growth by the end. A frozen socket reads nothing any more, a slow one wakes every three seconds.
`W5_SECONDS` (25 here; 20 or more, for the frozen to be ended), `W5_BARE=1` and `W6_CASE` (`2000x50@4Hz`) say how.
"""

from __future__ import annotations

import os

from benchmarks.report import Report
from benchmarks.w5 import BARE, measured

CASE = os.environ.get("W6_CASE", "2000x50@4Hz")
SECONDS = float(os.environ.get("W5_SECONDS", "25"))
SHARES = (0.01, 0.1, 0.3)
SHOWN = ("updates_per_s", "p50_ms", "p99_ms", "sent_p99_ms", "memory_mib")


def run(out: Report) -> None:
    """None, and then each share of each kind, on a gateway of its own."""
    well = measured(CASE, bare=BARE, seconds=SECONDS)
    for name in SHOWN:
        out.add(f"{CASE}, none", name, well[name])
    sockets = int(CASE.partition("x")[0])
    for kind, speech in (("frozen", "ours"), ("slow", "sleepy")):
        for share in SHARES:
            found = measured(CASE, bare=BARE, frozen=round(sockets * share), speech=speech, seconds=SECONDS)
            for name in SHOWN:
                out.add(f"{CASE}, {share:.0%} {kind}", name, found[name], well[name], "none", name != "updates_per_s")
            out.add(f"{CASE}, {share:.0%} {kind}", "lost", found["lost"])
