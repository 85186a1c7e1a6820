"""Jobs: what the timetable may do, each a command of ours by name, and what it does unless cluster.yaml says else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from market.labels import HORIZONS
from market.timetable import BY_HAND, SESSION, Job

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "instruments": ("instruments", "refresh"),
    "repair": ("repair", "--session", SESSION),
    "reconcile": ("reconcile", "--session", SESSION),
    "compact": ("compact", "--session", SESSION),
    "features": ("features", "--from", SESSION, "--to", SESSION),
    "retain": ("lake", "retain", "--session", SESSION),
    "accounts": ("user", "retain"),
    "outcomes": ("outcomes", "--score", "--session", SESSION),
    "train": ("retrain",),
    "ipo-refresh": ("ipo", "refresh"),
    "ipo-validate": ("ipo", "validate"),
    **{f"train-{horizon}": ("train", "--horizon", horizon, "--features") for horizon in HORIZONS},
}
"""The words behind `bourse`; SESSION stands for the session the run belongs to."""

TIMETABLE: Mapping[str, Job] = {
    "instruments": Job(at="08:30 on session days", do="instruments"),
    "repair": Job(at="every 10 min while open", do="repair", misfire="skip"),
    "repair-day": Job(at="20 min after close", do="repair"),
    "outcomes": Job(at="45 min after close", do="outcomes"),
    "reconcile": Job(at="19:30 on session days", do="reconcile", retry_seconds=900),
    "compact": Job(at="23:00 on session days", do="compact"),
    "retain": Job(at="23:30 on session days", do="retain"),
    "accounts": Job(at="23:45 on session days", do="accounts"),
    "train": Job(cron="0 6 * * sat", do="train", tries=1, limit_seconds=43_200, misfire="skip"),
    "ipo-refresh": Job(cron="0 */2 * * *", clock="wall", at_once=True, do="ipo-refresh", tries=1),
    "ipo-validate": Job(cron="*/30 * * * *", clock="wall", do="ipo-validate", tries=1),
}


LONGEST_TRAINING = 6 * 3600.0


def training(horizon: str) -> str:
    """The job that trains the model of a horizon."""
    return f"train-{horizon}"


def trainings() -> dict[str, Job]:
    """The jobs that run when somebody asks for them (`POST /models/NAME/train`), and never by themselves."""
    names = map(training, HORIZONS)
    return {name: Job(at=BY_HAND, do=name, tries=1, limit_seconds=LONGEST_TRAINING) for name in names}


def commands(config: Path) -> dict[str, tuple[str, ...]]:
    """The words of each job, with the file that says what they are about."""
    return {name: (*words, "--config", str(config)) for name, words in COMMANDS.items()}
