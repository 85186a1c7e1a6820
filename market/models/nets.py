"""Nets: what the members made of torch share: how they see columns, are taught, saved and loaded.

Teaching goes in rounds of a fixed number of steps, so that it takes no longer with more examples, and keeps the round
with the least log loss on the held-out examples. The round before the first counts too: its last layer is zero and
answers how often each outcome was seen, so a net that found nothing says that, and no more. Classes are not
weighted: the probabilities stay honest. One thread and one seed: same examples, same bytes (on a graphics card only
where CUBLAS_WORKSPACE_CONFIG is set to :4096:8 before torch starts).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional

from market.errors import BadPayload, BadValue
from market.labels import HORIZONS, UNKNOWN_LABEL, Label
from market.models.examples import CHANNELS, LENGTH, Examples, Floats32, Ints64
from market.models.model import Probabilities, Targets
from market.records import Record

BOUND = 6.0
"""Standardised values are cut here: further out is an error of the data more often than news."""

TINY = 1e-12
"""A column that varies less is constant."""

CHUNK = 4096
"""Items in one forward pass where nothing is learned."""

MOST_SCALED = 100_000
"""Rows from which a scaling is learned, evenly drawn."""

A = TypeVar("A", bound=Record)
N = TypeVar("N", bound=nn.Module)

Inputs = Callable[[Tensor], tuple[Tensor, ...]]
"""Places of items, (b,), to what a net's forward takes of them."""


class Lesson(NamedTuple):
    """How a net is taught: at most `rounds` of `steps` batches, until `patience` of them brought nothing."""

    rounds: int = 12
    patience: int = 3
    steps: int = 100
    batch: int = 512
    rate: float = 2e-3


LESSON = Lesson()


class Material(NamedTuple):
    """What it is taught by. `answers`: (items, k) labels, of k horizons or k instruments, UNKNOWN_LABEL where there is
    none.
    """

    inputs: Inputs
    answers: Tensor


class Rows(NamedTuple):
    """Labelled examples: `features` (n, f), `sequence` (n, LENGTH, channels), `labels` (n, horizons)."""

    features: Floats32
    sequence: Floats32
    labels: Ints64

    def material(self) -> Material:
        """To teach a net that takes features and sequences."""
        return Material(inputs_of(self.features, self.sequence), torch.from_numpy(self.labels).to(device()))


class Scaling(nn.Module):
    """Columns standardised as in training: less the median, over the spread of the middle half, cut at BOUND. Learned
    from the training examples and saved with the net.
    """

    middle: Tensor
    spread: Tensor
    telling: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("telling", torch.zeros(width))

    def learn(self, values: Floats32) -> None:
        """From (n, ..., width) values, NaN where unknown. A mask tells only what training saw missing."""
        width = len(self.middle)
        drawn = values[:: 1 + values.size // width // MOST_SCALED].reshape(-1, width)
        known = np.isfinite(drawn)
        counts = known.sum(axis=0)
        ordered = np.sort(np.where(known, drawn, np.float32(np.nan)), axis=0).astype(np.float64)
        low, middle, high = (ordered[(counts - 1).clip(0) * k // 4, np.arange(width)] for k in (1, 2, 3))
        away = np.where(np.isfinite(ordered), ordered - middle, 0.0)
        deviation = np.sqrt((away**2).sum(axis=0) / counts.clip(1))
        spread = np.where(high > low, (high - low) / 1.349, deviation)
        self.middle.copy_(torch.from_numpy(np.where(counts > 0, middle, 0.0)))
        self.spread.copy_(torch.from_numpy(np.where((counts > 0) & (spread > TINY), spread, 1.0)))
        self.telling.copy_(torch.from_numpy(~np.isfinite(values).reshape(-1, width).all(axis=0)))

    def standard(self, values: Tensor) -> Tensor:
        """(..., width) values; the median, which is 0, where one is unknown."""
        known = torch.isfinite(values)
        return torch.where(known, (values - self.middle) / self.spread, 0.0).clamp(-BOUND, BOUND)

    def forward(self, values: Tensor) -> Tensor:
        """(..., width) values to (..., 2 width): standardised, and 1 where one was unknown."""
        missing = (~torch.isfinite(values)).to(values.dtype) * self.telling
        return torch.cat([self.standard(values), missing], dim=-1)


class Answer(nn.Module):
    """The last layers: (..., width) to (..., k, 3) scores of DOWN, FLAT, UP."""

    def __init__(self, width: int, k: int) -> None:
        super().__init__()
        self._k = k
        self.hidden = nn.Linear(width, width)
        self.scores = nn.Linear(width, k * len(Label))

    def expect(self, labels: Ints64) -> None:
        """Begin by answering how often each outcome is seen in (n, k) labels."""
        seen = 1.0 + np.stack([(labels == label).sum(axis=0) for label in Label], axis=-1)
        with torch.no_grad():
            self.scores.weight.zero_()
            self.scores.bias.copy_(torch.from_numpy(np.log(seen / seen.sum(axis=-1, keepdims=True)).flatten()))

    def forward(self, values: Tensor) -> Tensor:
        scores: Tensor = self.scores(functional.gelu(self.hidden(values)))
        return torch.unflatten(scores, -1, (self._k, len(Label)))


def device() -> torch.device:
    """The graphics card, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """In here, torch computes the same from the same seed, on however many cores; afterwards it is as it was."""
    card = device().type == "cuda"
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warning = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=card)
    try:
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if card else []):
            torch.manual_seed(seed)
            yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warning)
        torch.set_num_threads(threads)


def teach(net: nn.Module, material: Material, held: Material, lesson: Lesson, seed: int) -> float:
    """Teach `net` in place; its log loss on `held`. To be called where it is `repeatable`."""
    labelled = torch.nonzero((material.answers != UNKNOWN_LABEL).any(dim=1)).flatten().cpu()
    held_labelled = torch.nonzero((held.answers != UNKNOWN_LABEL).any(dim=1)).flatten().cpu()
    deal = _deal(labelled, lesson.batch, seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lesson.rate, weight_decay=1e-2)
    least, best, waited = _loss(net, held, held_labelled, lesson.batch), _copied(net), 0
    for _ in range(lesson.rounds):
        net.train()
        for _ in range(lesson.steps):
            items = next(deal).to(material.answers.device)
            total, count = _losses(net, material, items)
            optimizer.zero_grad()
            torch.autograd.backward(total / count)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        loss = _loss(net, held, held_labelled, lesson.batch)
        waited += 1
        if loss < least:
            least, best, waited = loss, _copied(net), 0
        if waited >= lesson.patience:
            break
    net.load_state_dict(best)
    net.train(False)
    return least


def columns(names: Sequence[str], examples: Examples) -> Floats32:
    """(n, len(names)): the features of these names. Raises BadValue: some are lacking, or a shape is wrong."""
    n = examples.rows
    if examples.features.shape != (n, len(examples.names)):
        raise BadValue("features", examples.features.shape, f"{n} rows of {len(examples.names)} names are told of")
    if tuple(names) == examples.names:
        return examples.features
    places = {name: place for place, name in enumerate(examples.names)}
    lacking = [name for name in names if name not in places]
    if lacking:
        raise BadValue("features", tuple(lacking), "the model was fitted on these and the examples lack them")
    return examples.features[:, [places[name] for name in names]]


def sequence(examples: Examples) -> tuple[Floats32, npt.NDArray[np.bool_]]:
    """The examples' sequences, and (n,) whether there is one. Raises BadValue: their shape is wrong."""
    allowed = (examples.rows, LENGTH, len(CHANNELS))
    if examples.sequence.shape != allowed:
        raise BadValue("sequence", examples.sequence.shape, f"these examples need {allowed}")
    return examples.sequence, np.asarray(~np.isnan(examples.sequence).all(axis=(1, 2)))


def answers(examples: Examples, targets: Targets, horizons: Sequence[str]) -> Ints64:
    """(n, len(horizons)) labels; UNKNOWN_LABEL in those of a horizon that `targets` lacks. Raises BadValue."""
    found = np.full((examples.rows, len(horizons)), UNKNOWN_LABEL, np.int64)
    for k, horizon in enumerate(horizons):
        if horizon in targets:
            if targets[horizon].shape != (examples.rows,):
                raise BadValue(
                    f"targets[{horizon!r}]", targets[horizon].shape, f"one label for {examples.rows} examples"
                )
            found[:, k] = targets[horizon]
    if ((found < UNKNOWN_LABEL) | (found > max(Label))).any():
        raise BadValue("targets", sorted(set(found.flatten().tolist())), f"{UNKNOWN_LABEL} to {max(Label)}")
    return found


def rows(name: str, names: Sequence[str], examples: Examples, targets: Targets, horizons: Sequence[str]) -> Rows:
    """Those of the examples that have a sequence and a label. Raises BadValue: there are none; `name` says of what."""
    features, (steps, there), labels = (
        columns(names, examples),
        sequence(examples),
        answers(examples, targets, horizons),
    )
    there &= (labels != UNKNOWN_LABEL).any(axis=1)
    if not there.any():
        raise BadValue(name, f"{examples.rows} examples", "at least one needs a label and a sequence")
    return Rows(features[there], steps[there], labels[there])


def check_horizon(horizon: str) -> str:
    """The horizon itself. Raises BadValue: it is none of ours."""
    if horizon not in HORIZONS:
        raise BadValue("horizon", horizon, f"one of {', '.join(HORIZONS)}")
    return horizon


def check_saved_horizon(horizon: str, data: bytes, source: str) -> None:
    """Raises BadPayload: a saved net answers for a horizon that is none of ours."""
    if horizon not in HORIZONS:
        raise BadPayload(source, data, f"it answers for {horizon!r}, and the horizons are {', '.join(HORIZONS)}")


def fitted(net: N | None, kind: str) -> N:
    """The net itself. Raises BadValue: there is none yet."""
    if net is None:
        raise BadValue("model", kind, "fit or load it before it is asked")
    return net


def inputs_of(*columns: Floats32) -> Inputs:
    """The items of columns that lie beside each other, (n, ...) each."""
    tensors = [torch.from_numpy(np.ascontiguousarray(each)).to(device()) for each in columns]
    return lambda items: tuple(each[items] for each in tensors)


def ask(net: nn.Module, inputs: Inputs, n: int, chunk: int = CHUNK) -> Probabilities:
    """The probabilities, (n, k, 3), that the net gives of `n` items."""
    found = []
    with torch.inference_mode():
        for items in torch.split(torch.arange(n, device=device()), chunk):
            found.append(functional.softmax(net(*inputs(items)), dim=-1).cpu().numpy())
    return np.concatenate(found)


def saved(about: Record, net: nn.Module) -> bytes:
    """A safetensors file of the net's values; what it is, as JSON, in the file's metadata."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    return save_tensors(tensors, {"about": about.model_dump_json()})


def opened(data: bytes, about: type[A], source: str) -> tuple[A, dict[str, Tensor]]:
    """What a saved net is, and its values. Raises BadPayload."""
    try:
        tensors = load_tensors(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return about.model_validate_json(header["__metadata__"]["about"]), tensors
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as e:
        raise BadPayload(source, data, f"no saved net: {e}") from e


def filled(net: Callable[[], N], tensors: Mapping[str, Tensor], data: bytes, source: str) -> N:
    """The net with these values, its shapes compared before it takes any room. Raises BadPayload."""
    with torch.device("meta"):
        empty = net()
    wanted = {name: (tuple(value.shape), value.dtype) for name, value in empty.state_dict().items()}
    given = {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise BadPayload(source, data, f"{name} is {given.get(name)}, and {wanted.get(name)} goes in here")
        if not torch.isfinite(tensors[name]).all():
            raise BadPayload(source, data, f"{name} holds values that are no numbers")
    empty.load_state_dict(dict(tensors), assign=True)
    empty.train(False)
    return empty.to(device())


def _deal(items: Tensor, batch: int, seed: int) -> Iterator[Tensor]:
    chance = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.split(items[torch.randperm(len(items), generator=chance)], batch)


def _losses(net: nn.Module, material: Material, items: Tensor) -> tuple[Tensor, Tensor]:
    wanted = material.answers[items].flatten()
    scores = net(*material.inputs(items)).flatten(0, -2)
    total = functional.cross_entropy(scores, wanted, ignore_index=UNKNOWN_LABEL, reduction="sum")
    return total, (wanted != UNKNOWN_LABEL).sum()


def _loss(net: nn.Module, material: Material, items: Tensor, batch: int) -> float:
    net.train(False)
    with torch.no_grad():
        parts = [_losses(net, material, some.to(material.answers.device)) for some in torch.split(items, 4 * batch)]
    return sum(float(total) for total, _ in parts) / sum(int(count) for _, count in parts)


def _copied(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}
