"""Exchange: the simulated exchange as a part of the cluster, so that a day needs no broker."""

from __future__ import annotations

import os
from typing import Any

from actors.measures import resident_bytes
