"""The LSTM: reads the last half hour row by row, beside the features of the moment, and answers for one horizon."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from market.errors import BadPayload
from market.labels import Label
from market.models import nets
from market.models.examples import CHANNELS, Examples
from market.models.model import Probabilities, Targets
from market.records import Record

HIDDEN = 32
DROPOUT = 0.1
SOURCE = "saved lstm"


class About(Record):
    """What a saved LSTM is."""

    kind: Literal["lstm"] = "lstm"
    horizon: str
    names: tuple[str, ...]
    channels: tuple[str, ...] = CHANNELS
    hidden: int = Field(default=HIDDEN, ge=1, le=512)


class Lstm:
    """Satisfies `Model`. An example without a sequence teaches it nothing, and is answered NaN."""

    kind = "lstm"

    def __init__(self, horizon: str, lesson: nets.Lesson = nets.LESSON) -> None:
        self.horizon = nets.check_horizon(horizon)
        self._lesson = lesson
        self._net: _Net | None = None

    def fit(self, examples: Examples, targets: Targets, held: Examples, held_targets: Targets, seed: int) -> None:
        """Learn from `examples`, stop early by `held`. Raises BadValue: one of them has no label with a sequence."""
        rows = nets.rows("examples", examples.names, examples, targets, (self.horizon,))
        held_rows = nets.rows("held", examples.names, held, held_targets, (self.horizon,))
        with nets.repeatable(seed):
            net = _Net(About(horizon=self.horizon, names=examples.names))
            net.features.learn(rows.features)
            net.steps.learn(rows.sequence)
            net.answer.expect(rows.labels)
            nets.teach(net.to(nets.device()), rows.material(), held_rows.material(), self._lesson, seed)
        self._net = net

    def predict(self, examples: Examples) -> Probabilities:
        """(n, 3); NaN where there is no sequence. Raises BadValue: a feature it was fitted on is lacking."""
        net = nets.fitted(self._net, self.kind)
        features, (sequence, there) = nets.columns(net.about.names, examples), nets.sequence(examples)
        found = np.full((examples.rows, len(Label)), np.nan, np.float32)
        if there.any():
            inputs = nets.inputs_of(features[there], sequence[there])
            found[there] = nets.ask(net, inputs, int(there.sum()))[:, 0]
        return found

    def save(self) -> bytes:
        """A safetensors file. Raises BadValue: nothing is learned yet."""
        net = nets.fitted(self._net, self.kind)
        return nets.saved(net.about, net)

    @classmethod
    def load(cls, data: bytes) -> Self:
        """The model that `save` was asked of. Raises BadPayload."""
        about, values = nets.opened(data, About, SOURCE)
        nets.check_saved_horizon(about.horizon, data, SOURCE)
        if about.channels != CHANNELS:
            raise BadPayload(SOURCE, data, f"it learned from rows of {about.channels}, and ours are {CHANNELS}")
        model = cls(about.horizon)
        model._net = nets.filled(lambda: _Net(about), values, data, SOURCE)
        return model


class _Net(nn.Module):
    def __init__(self, about: About) -> None:
        super().__init__()
        self.about = about
        self.features = nets.Scaling(len(about.names))
        self.steps = nets.Scaling(len(about.channels))
        self.moment = nn.Linear(2 * len(about.names), about.hidden)
        self.past = nn.LSTM(len(about.channels), about.hidden, batch_first=True)
        self.drop = nn.Dropout(DROPOUT)
        self.answer = nets.Answer(2 * about.hidden, 1)

    def forward(self, features: Tensor, sequence: Tensor) -> Tensor:
        _, (past, _) = self.past(self.steps.standard(sequence))
        moment = functional.gelu(self.moment(self.features(features)))
        scores: Tensor = self.answer(self.drop(torch.cat([past[-1], moment], dim=-1)))
        return scores
