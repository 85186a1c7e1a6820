"""Revision: which code this is: the commit, where it runs out of a repository, else the release."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WAIT_SECONDS = 10.0


def revision(root: Path = ROOT) -> str:
    """The commit, with `+changed` behind it where files of it were changed since; `release X` without a repository."""
    if (root / ".git").exists():
        commit, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--untracked-files=no")
        if commit:
            return f"{commit}+changed" if changed else commit
    try:
        return f"release {version('bourse')}"
    except PackageNotFoundError:
        return "unknown"


def _git(root: Path, *words: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603  (our own words)
            [git, "-C", str(root), *words], capture_output=True, text=True, timeout=WAIT_SECONDS, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return ""
    return done.stdout.strip()
