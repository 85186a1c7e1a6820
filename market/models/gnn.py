"""The GNN: one moment of all instruments at once, each seeing its neighbours' features too.

Neighbours are the instruments of one sector, and those whose returns went together in training. An instrument that is
missing at a moment, or that nobody told of, is no neighbour of anyone then: what is said of the others rests on those
who are there. Of an instrument that has neighbours too few of whom are known at a moment, nothing is said: that is
unlike anything learned. A row without a sequence is answered too: what is seen is the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from market.errors import BadPayload, BadValue
from market.labels import UNKNOWN_LABEL
from market.models import nets
from market.models.examples import CHANNELS, Examples, Floats32, Ints64
from market.models.model import Probabilities, Targets
from market.records import Record

HIDDEN = 32
LAYERS = 2
DROPOUT = 0.1

NEIGHBOURS = 8
"""Of each instrument by correlation, at most."""

LEAST_CORRELATION = 0.2
"""Below, and below three standard errors, two instruments are no neighbours."""

LEAST_SHARED = 30
"""Moments that a correlation is told from."""

LEAST_KNOWN = 0.5
"""The share of an instrument's neighbours below which there is no answer."""

MOST_NODES = 4096
"""Who is whose neighbour is held as a table of all pairs, 64 MB at this size."""

SOURCE = "saved gnn"

Floats = npt.NDArray[np.float64]


class About(Record):
    """What a saved GNN is."""

    kind: Literal["gnn"] = "gnn"
    horizon: str
    names: tuple[str, ...]
    nodes: int = Field(ge=1, le=MOST_NODES)
    neighbours: int = Field(ge=0, le=MOST_NODES)
    hidden: int = Field(default=HIDDEN, ge=1, le=512)
    layers: int = Field(default=LAYERS, ge=1, le=8)


class Gnn:
    """Satisfies `Model`. `sectors`: an instrument's place in the universe to its sector's number; `neighbours`: by
    correlation, at most.
    """

    kind = "gnn"

    def __init__(
        self,
        horizon: str,
        sectors: Mapping[int, int],
        neighbours: int = NEIGHBOURS,
        lesson: nets.Lesson = nets.LESSON,
    ) -> None:
        self.horizon = nets.check_horizon(horizon)
        if neighbours < 0:
            raise BadValue("neighbours", neighbours, "0 or more")
        self._sectors, self._neighbours, self._lesson = dict(sectors), neighbours, lesson
        self._net: _Net | None = None

    def fit(self, examples: Examples, targets: Targets, held: Examples, held_targets: Targets, seed: int) -> None:
        """Learn from the moments of `examples` that have a label, stop early by those of `held`.

        Raises BadValue: one of the two has none, or there are more than MOST_NODES instruments.
        """
        known = np.fromiter(self._sectors, np.int64, len(self._sectors))
        places = np.unique(np.concatenate([known, examples.instrument, held.instrument])).astype(np.int64)
        if len(places) > MOST_NODES:
            raise BadValue("examples", f"{len(places)} instruments", f"at most {MOST_NODES}")
        moments = _moments("examples", examples.names, examples, targets, self.horizon, places)
        held_moments = _moments("held", examples.names, held, held_targets, self.horizon, places)
        about = About(horizon=self.horizon, names=examples.names, nodes=len(places), neighbours=self._neighbours)
        with nets.repeatable(seed):
            net = _Net(about)
            net.places.copy_(torch.from_numpy(places))
            net.sectors.copy_(torch.tensor([self._sectors.get(place, -1) for place in places.tolist()]))
            net.near.copy_(torch.from_numpy(correlated(moments.returns, self._neighbours)))
            net.features.learn(moments.features)
            net.answer.expect(moments.labels.reshape(-1, 1))
            net.to(nets.device()).connect()
            lesson = self._lesson._replace(batch=max(1, self._lesson.batch // moments.breadth))
            nets.teach(net, moments.material(), held_moments.material(), lesson, seed)
        self._net = net

    def predict(self, examples: Examples) -> Probabilities:
        """(n, 3), each by the examples of its own moment; NaN where too few neighbours are among them and known.

        Raises BadValue: a feature it was fitted on is lacking.
        """
        net = nets.fitted(self._net, self.kind)
        features = nets.columns(net.about.names, examples)
        if not examples.rows:
            return np.zeros((0, 3), np.float32)
        places = net.places.cpu().numpy()
        strangers = np.setdiff1d(examples.instrument, places)
        grid, moment, node = _grid(examples, np.concatenate([places, strangers]))
        found = nets.ask(net, _inputs(features, grid), len(grid), max(1, nets.CHUNK // grid.shape[1]))
        found[:, : len(places)][_lonely(net, features, grid[:, : len(places)])] = np.nan
        return found[moment, node]

    def neighbours(self, instruments: Ints64) -> Ints64:
        """As `Related.neighbours`: as far as layers reach, and one further, for how much a neighbour says depends on
        how many it has.
        """
        net = nets.fitted(self._net, self.kind)
        places, edges = net.places.cpu().numpy(), net.edges.cpu().numpy() > 0
        near = np.isin(places, instruments)
        for _ in range(net.about.layers + 1):
            if near.all():
                break
            near |= edges[near].any(axis=0)
        return np.union1d(places[near], instruments).astype(np.int64)

    def save(self) -> bytes:
        """A safetensors file, the graph in it. Raises BadValue: nothing is learned yet."""
        net = nets.fitted(self._net, self.kind)
        return nets.saved(net.about, net)

    @classmethod
    def load(cls, data: bytes) -> Self:
        """The model that `save` was asked of. Raises BadPayload."""
        about, values = nets.opened(data, About, SOURCE)
        nets.check_saved_horizon(about.horizon, data, SOURCE)
        net = nets.filled(lambda: _Net(about), values, data, SOURCE)
        places, near = net.places, net.near
        if (places[1:] <= places[:-1]).any() or ((near < -1) | (near >= about.nodes)).any():
            raise BadPayload(SOURCE, data, "its graph is none: places must ascend, and neighbours be among them")
        net.connect()
        sectors = dict(zip(places.tolist(), net.sectors.tolist(), strict=True))
        model = cls(
            about.horizon, {place: sector for place, sector in sectors.items() if sector >= 0}, about.neighbours
        )
        model._net = net
        return model


def correlated(returns: Floats, k: int) -> Ints64:
    """Each column's neighbours, (n, k) columns, -1 where there are fewer: the `k` whose (t, n) returns, NaN where
    unknown, went with its own the most.
    """
    n = returns.shape[1]
    there = np.isfinite(returns)
    known, ones = np.where(there, returns, 0.0), there.astype(np.float64)
    shared = ones.T @ ones
    counts, sums, squares = shared.clip(1), known.T @ ones, (known**2).T @ ones
    spread = squares - sums**2 / counts
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (known.T @ known - sums * sums.T / counts) / np.sqrt(spread * spread.T)
    found = np.where((shared >= LEAST_SHARED) & (spread > 0) & (spread.T > 0), found, -1.0).round(6)
    np.fill_diagonal(found, -1.0)
    order = np.argsort(-found, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(found, order, axis=1)
    errors = 3.0 / np.sqrt(np.take_along_axis(counts, order, axis=1))
    neighbours = np.full((n, k), -1, np.int64)
    neighbours[:, : order.shape[1]] = np.where((best >= LEAST_CORRELATION) & (best >= errors), order, -1)
    return neighbours


class _Moments(NamedTuple):
    features: Floats32
    grid: Ints64
    labels: Ints64
    returns: Floats

    @property
    def breadth(self) -> int:
        return max(1, round(float((self.grid >= 0).sum()) / len(self.grid)))

    def material(self) -> nets.Material:
        return nets.Material(_inputs(self.features, self.grid), torch.from_numpy(self.labels).to(nets.device()))


def _moments(
    name: str, names: tuple[str, ...], examples: Examples, targets: Targets, horizon: str, places: Ints64
) -> _Moments:
    labels = nets.answers(examples, targets, (horizon,))[:, 0]
    features, (sequence, _) = nets.columns(names, examples), nets.sequence(examples)
    told = np.isin(examples.at, examples.at[labels != UNKNOWN_LABEL])
    if not told.any():
        raise BadValue(name, f"{examples.rows} examples", f"at least one needs a label of {horizon}")
    grid, _, _ = _grid(examples.take(told), places)
    rows, there = np.flatnonzero(told)[grid], grid >= 0
    returns = sequence[:, -1, CHANNELS.index("return")].astype(np.float64)
    return _Moments(
        features[told],
        grid,
        np.where(there, labels[rows], UNKNOWN_LABEL),
        np.where(there, returns[rows], np.nan),
    )


def _grid(examples: Examples, places: Ints64) -> tuple[Ints64, Ints64, Ints64]:
    ats, moment = np.unique(examples.at, return_inverse=True)
    order = np.argsort(places, kind="stable")
    node = order[np.searchsorted(places, examples.instrument, sorter=order)]
    grid = np.full((len(ats), len(places)), -1, np.int64)
    grid[moment, node] = np.arange(examples.rows)
    return grid, moment.astype(np.int64), node.astype(np.int64)


def _lonely(net: _Net, features: Floats32, grid: Ints64) -> npt.NDArray[np.bool_]:
    known = (grid >= 0) & np.asarray(np.isfinite(features).any(axis=1))[grid]
    edges = net.edges.cpu().numpy()
    return np.asarray(known.astype(np.float32) @ edges < LEAST_KNOWN * edges.sum(axis=0))


def _inputs(features: Floats32, grid: Ints64) -> nets.Inputs:
    values = torch.from_numpy(np.ascontiguousarray(features)).to(nets.device())
    places = torch.from_numpy(grid).to(nets.device())

    def inputs(moments: Tensor) -> tuple[Tensor, ...]:
        rows = places[moments]
        return values[rows.clamp(0)], rows >= 0

    return inputs


class _Net(nn.Module):
    places: Tensor
    sectors: Tensor
    near: Tensor
    edges: Tensor

    def __init__(self, about: About) -> None:
        super().__init__()
        self.about = about
        self.register_buffer("places", torch.zeros(about.nodes, dtype=torch.int64))
        self.register_buffer("sectors", torch.zeros(about.nodes, dtype=torch.int64))
        self.register_buffer("near", torch.zeros(about.nodes, about.neighbours, dtype=torch.int64))
        self.features = nets.Scaling(len(about.names))
        self.moment = nn.Linear(2 * len(about.names), about.hidden)
        self.layers = nn.ModuleList(_Layer(about.hidden) for _ in range(about.layers))
        self.answer = nets.Answer(about.hidden, 1)

    def connect(self) -> None:
        alike = (self.sectors[:, None] == self.sectors) & (self.sectors >= 0)
        paired = alike.new_zeros(len(alike), len(alike) + 1)
        paired = paired.scatter(1, self.near + 1, True)[:, 1:]
        edges = (alike | paired | paired.T).float().fill_diagonal_(0.0)
        self.register_buffer("edges", edges, persistent=False)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        strangers = features.shape[1] - self.about.nodes
        edges = functional.pad(self.edges, (0, strangers, 0, strangers))
        there = present.unsqueeze(-1).float()
        degrees = (edges @ there) * there
        shares = torch.where(degrees > 0, degrees.clamp(1.0).rsqrt(), 0.0)
        values = functional.gelu(self.moment(self.features(features))) * there
        for layer in self.layers:
            values = layer(values, edges, shares) * there
        scores: Tensor = self.answer(values)
        return scores.squeeze(-2)


class _Layer(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.own = nn.Linear(hidden, hidden)
        self.others = nn.Linear(hidden, hidden, bias=False)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, values: Tensor, edges: Tensor, shares: Tensor) -> Tensor:
        seen = self.norm(values)
        around = shares * (edges @ (shares * seen))
        found: Tensor = values + self.drop(functional.gelu(self.own(seen) + self.others(around)))
        return found
