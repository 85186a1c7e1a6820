"""The transformer: attends to the last half hour and to the features of the moment, and answers for all horizons.

Four rows of the sequence are one token, the features are another, out of which the answers are read. The horizons
share all but the last layer, and are taught together by the labels that there are.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from market.errors import BadPayload
from market.labels import HORIZONS, UNKNOWN_LABEL, Label
from market.models import nets
from market.models.examples import CHANNELS, LENGTH, Examples
from market.models.model import Probabilities, Targets
from market.records import Record

PATCH = 4
"""Rows in a token: a quarter of the tokens is learned in a quarter of the time."""

WIDTH = 32
"""Small enough that 500 instruments are answered in milliseconds on one core. Measured on the three nets, in turns,
2026-11-21: dynamic quantisation is slower (LSTM twice, GNN a fifth, transformer a tenth) and moves a probability by up
to 0.04; torch.compile saves a sixth of the transformer's 7 ms, nothing of the others', and needs a C++ compiler;
TorchScript saves 0.2 to 0.8 ms. None is used. The last layer asks for one token, not for all.
"""

HEADS = 4
LAYERS = 2
DROPOUT = 0.1
SOURCE = "saved transformer"


class About(Record):
    """What a saved transformer is; `horizons` those it was taught."""

    kind: Literal["transformer"] = "transformer"
    horizon: str
    horizons: tuple[str, ...] = Field(min_length=1, max_length=len(HORIZONS))
    names: tuple[str, ...]
    channels: tuple[str, ...] = CHANNELS
    length: int = LENGTH
    patch: int = Field(default=PATCH, ge=1, le=LENGTH)
    width: int = Field(default=WIDTH, ge=HEADS, le=512, multiple_of=HEADS)
    layers: int = Field(default=LAYERS, ge=1, le=8)


class Transformer:
    """Satisfies `Model`. An example without a sequence teaches it nothing, and is answered NaN."""

    kind = "transformer"

    def __init__(self, horizon: str, lesson: nets.Lesson = nets.LESSON) -> None:
        self.horizon = nets.check_horizon(horizon)
        self._lesson = lesson
        self._net: _Net | None = None

    def fit(self, examples: Examples, targets: Targets, held: Examples, held_targets: Targets, seed: int) -> None:
        """Learn all horizons that have labels; stop early by `held` of its own. Raises BadValue: one of the two has no
        label of its own horizon with a sequence.
        """
        nets.rows("examples", examples.names, examples, targets, (self.horizon,))
        rows = nets.rows("examples", examples.names, examples, targets, tuple(HORIZONS))
        taught = (rows.labels != UNKNOWN_LABEL).any(axis=0)
        horizons = tuple(horizon for horizon, there in zip(HORIZONS, taught, strict=True) if there)
        own = {self.horizon: held_targets[self.horizon]} if self.horizon in held_targets else {}
        held_rows = nets.rows("held", examples.names, held, own, horizons)
        rows = rows._replace(labels=rows.labels[:, taught])
        with nets.repeatable(seed):
            net = _Net(About(horizon=self.horizon, horizons=horizons, names=examples.names))
            net.features.learn(rows.features)
            net.steps.learn(rows.sequence)
            net.answer.expect(rows.labels)
            nets.teach(net.to(nets.device()), rows.material(), held_rows.material(), self._lesson, seed)
        self._net = net

    def predict(self, examples: Examples) -> Probabilities:
        """(n, 3); NaN where there is no sequence. Raises BadValue: a feature it was fitted on is lacking."""
        return self.predict_all(examples)[self.horizon]

    def predict_all(self, examples: Examples) -> dict[str, Probabilities]:
        """The same for each horizon it was taught."""
        net = nets.fitted(self._net, self.kind)
        features, (sequence, there) = nets.columns(net.about.names, examples), nets.sequence(examples)
        found = np.full((examples.rows, len(net.about.horizons), len(Label)), np.nan, np.float32)
        if there.any():
            found[there] = nets.ask(net, nets.inputs_of(features[there], sequence[there]), int(there.sum()))
        return {horizon: found[:, k] for k, horizon in enumerate(net.about.horizons)}

    def save(self) -> bytes:
        """A safetensors file. Raises BadValue: nothing is learned yet."""
        net = nets.fitted(self._net, self.kind)
        return nets.saved(net.about, net)

    @classmethod
    def load(cls, data: bytes) -> Self:
        """The model that `save` was asked of. Raises BadPayload."""
        about, values = nets.opened(data, About, SOURCE)
        nets.check_saved_horizon(about.horizon, data, SOURCE)
        if (about.length, about.channels) != (LENGTH, CHANNELS) or LENGTH % about.patch:
            raise BadPayload(SOURCE, data, f"it learned from {about.length} rows of {about.channels}; ours differ")
        if about.horizon not in about.horizons or len(set(about.horizons)) != len(about.horizons):
            raise BadPayload(SOURCE, data, f"it answers for {about.horizon}, and learned {about.horizons}")
        model = cls(about.horizon)
        model._net = nets.filled(lambda: _Net(about), values, data, SOURCE)
        return model


class _Net(nn.Module):
    def __init__(self, about: About) -> None:
        super().__init__()
        self.about = about
        tokens = about.length // about.patch
        self.features = nets.Scaling(len(about.names))
        self.steps = nets.Scaling(len(about.channels))
        self.moment = nn.Linear(2 * len(about.names), about.width)
        self.past = nn.Linear(about.patch * len(about.channels), about.width)
        self.place = nn.Parameter(0.1 * torch.randn(tokens + 1, about.width))
        self.layers = nn.ModuleList(_Layer(about.width) for _ in range(about.layers))
        self.norm = nn.LayerNorm(about.width)
        self.answer = nets.Answer(about.width, len(about.horizons))

    def forward(self, features: Tensor, sequence: Tensor) -> Tensor:
        past = self.past(torch.unflatten(self.steps.standard(sequence), 1, (-1, self.about.patch)).flatten(2))
        moment = self.moment(self.features(features)).unsqueeze(1)
        tokens = torch.cat([moment, past], dim=1) + self.place
        for layer in self.layers[:-1]:
            tokens = layer(tokens, tokens.shape[1])
        scores: Tensor = self.answer(self.norm(self.layers[-1](tokens, 1)[:, 0]))
        return scores


class _Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.forth = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, tokens: Tensor, kept: int) -> Tensor:
        seen = self.norm(tokens)
        asked, keys, values = self.query(seen[:, :kept]), self.key(seen), self.value(seen)
        found = functional.scaled_dot_product_attention(_heads(asked), _heads(keys), _heads(values))
        own: Tensor = tokens[:, :kept] + self.drop(self.out(found.transpose(1, 2).flatten(2)))
        after: Tensor = own + self.drop(self.forth(own))
        return after


def _heads(tokens: Tensor) -> Tensor:
    return torch.unflatten(tokens, -1, (HEADS, -1)).transpose(1, 2)
