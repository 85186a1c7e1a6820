"""Registry: the versions of our models, in MLflow over the database, their files in a folder beside it.

MLflow keeps names, versions, aliases and the figures of each training run; who was promoted when and why is our own
table, and the truth: the alias `champion` follows it, and is put right by whoever promotes next if a crash came between
the two. What a version was when it was registered is checked by hash whenever it is loaded. The versions of the lake
that it was trained from stay readable for as long as it is registered.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import ValidationError

from adapters.database import Database
from adapters.upkeep import Upkeep
from market.errors import BadValue, LineDown, StoreRefused
from market.registrations import (
    About,
    NotPromoted,
    Promotion,
    Version,
    champion,
    fallback,
    named,
    objection,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

NAME = "registry"
SCHEMA = "mlflow"
CHAMPION, CHALLENGER = "champion", "challenger"
ALIASES = (CHAMPION, CHALLENGER)
ABOUT, FILES, FOLDER = "bourse.about", "bourse.files", "bourse.folder"
MOST_TAG = 100_000
"""Characters of a tag, in MLflow."""
BATCH = 100
"""The most parameters MLflow takes at once."""
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
KEPT_DAYS = 7
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "2"}
"""For the environment, before MLflow is loaded: it asks nobody outside and holds few connections."""


class Registry:
    """The models of one deployment. `lake`: who keeps the lake's versions; without it nothing trained from a lake can
    be registered or deleted. `kept`: so long versions of the lake stay by themselves.
    """

    def __init__(
        self, url: str, folder: str | Path, lake: Upkeep | None = None, kept: timedelta = timedelta(days=KEPT_DAYS)
    ) -> None:
        """`url`: of the database; `folder`: of the files. Nothing is opened yet. Raises BadSetting."""
        self._database = Database(url)
        self._folder = Path(folder).absolute()
        self._lake, self._kept = lake, kept
        self._opened: Any = None

    def register(self, name: str, files: Mapping[str, bytes], about: About) -> int:
        """Put a version on record, whole or not at all; the challenger, if it has shown an edge. Its number.

        Raises BadValue: the files or what is said of them cannot be kept; LineDown.
        """
        if about.name != named(name):
            raise BadValue("about.name", about.name, f"{name}, the name it is registered under")
        tags = _tags(files, about)
        mark = uuid.uuid4().hex[:16]
        place = self._folder / name / mark
        with self._locked(name) as line:
            keeper = f"{name}@new-{mark}"  # until its number is known
            try:
                self._keep(about, keeper)
                _write(place, files)
                version = self._record(name, about, {**tags, FOLDER: f"{name}/{mark}"})
            except BaseException:
                shutil.rmtree(place, ignore_errors=True)
                self._release(about, keeper)
                raise
            self._keep(about, f"{name}@{version}")
            self._release(about, keeper)
            if about.verdict == "EDGE":
                self._name(name, CHALLENGER, version)
            self._settle(name, self._history(line, name))
        return version

    def files(self, name: str, version: int) -> dict[str, bytes]:
        """What was registered, by file name. Raises StoreRefused when it is not what it was, BadValue, LineDown."""
        tags = self._tags(name, version)
        place, found = self._folder / tags[FOLDER], {}
        for file, digest in json.loads(tags[FILES]).items():
            try:
                found[file] = (place / file).read_bytes()
            except OSError as e:
                raise _damaged(name, version, f"{place / file}: {e.strerror}") from e
            if hashlib.sha256(found[file]).hexdigest() != digest:
                raise _damaged(name, version, f"{place / file} is not the file that was registered")
        return found

    def about(self, name: str, version: int) -> About:
        """What is known of a version. Raises BadValue, LineDown."""
        return _about(name, version, self._tags(name, version))

    def names(self) -> list[str]:
        """Of all models, in order. Raises LineDown."""
        with self._client() as client:
            return sorted(model.name for model in client.search_registered_models(max_results=1000))

    def versions(self, name: str) -> list[Version]:
        """All of a model, newest first; none of a name that nobody registered. Raises LineDown."""
        with self._client() as client:
            found = client.search_model_versions(f"name='{named(name)}'")
        aliases = self._aliases(name)
        return [
            Version(
                name=name,
                version=int(one.version),
                aliases=tuple(alias for alias in ALIASES if aliases.get(alias) == int(one.version)),
                registered_at=datetime.fromtimestamp(one.creation_timestamp / 1000, UTC),
                about=_about(name, int(one.version), one.tags),
            )
            for one in sorted(found, key=lambda one: -int(one.version))
        ]

    def alias(self, name: str, alias: str) -> int | None:
        """The version that is called `champion` or `challenger`, None: none is. Raises LineDown."""
        if alias not in ALIASES:
            raise BadValue("alias", alias, f"one of {', '.join(ALIASES)}")
        return self._aliases(named(name)).get(alias)

    def promote(
        self, name: str, version: int, *, by: str = "rule", force: bool = False, because: str = ""
    ) -> Promotion | NotPromoted:
        """Make a version the champion, if the rule lets it; `force`: whatever the rule says, `because` of something.

        Raises BadValue: no such version, or forced without a reason; LineDown.
        """
        if force and not because.strip():
            raise BadValue("because", because, "why this version is to serve, in words; it goes on record")
        about = self.about(name, version)
        with self._locked(name) as line:
            history = self._history(line, name)
            present = champion(history)
            if present == version:
                self._settle(name, history)
                return NotPromoted(name=name, version=version, reason="it is the champion already")
            reason = objection(about, self._champion(name, present), present)
            if reason is not None and not force:
                return NotPromoted(name=name, version=version, reason=reason)
            kind = "promoted" if reason is None else "forced"
            why = because.strip() or f"{about.measure} of {about.score:.6g}"
            return self._install(name, version, present, kind, because=why, by=by)

    def rollback(self, name: str, *, by: str = "operator", because: str = "") -> Promotion:
        """Make the champion before the present one the champion again. Raises BadValue: there was none; LineDown."""
        with self._locked(named(name)) as line:
            history, versions = self._history(line, name), [one.version for one in self.versions(name)]
            if not versions:
                raise BadValue("name", name, "a model that is registered: bourse models shows them")
            back = fallback(history, versions)
            if back is None:
                raise BadValue("name", name, "a model with a champion before the present one")
            return self._install(name, back, champion(history), "rolled back", because=because.strip(), by=by)

    def history(self, name: str) -> list[Promotion]:
        """Every promotion of a model, oldest first. Raises LineDown."""
        with self._client(), self._database.begin() as line:
            return self._history(line, named(name))

    def delete(self, name: str, version: int) -> None:
        """Forget a version and let its data go. Raises BadValue: it is the champion; LineDown."""
        tags = self._tags(name, version)
        about = _about(name, version, tags)
        with self._locked(name) as line:
            if champion(self._history(line, name)) == version:
                raise BadValue("version", version, "one that is not the champion")
            with self._client() as client:
                client.delete_model_version(name, str(version))
            shutil.rmtree(self._folder / tags[FOLDER], ignore_errors=True)
            self._release(about, f"{name}@{version}")

    def close(self) -> None:
        """Close the connections that are ours."""
        self._database.close()

    # From here on: MLflow, the audit, the lake.

    @contextmanager
    def _client(self) -> Iterator[Any]:
        if self._opened is None:
            self._opened = self._open()
        with _told():
            yield self._opened

    def _open(self) -> Any:
        self._database.migrate()  # and so look whether it is there: MLflow would try for minutes
        from sqlalchemy import text

        with self._database.begin() as line:
            line.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{SCHEMA}"'))
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import logging

        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # it logs what it raises
        url = self._database.url
        url += f"{'&' if '?' in url else '?'}options={quote(f'-c search_path={SCHEMA}')}"
        with self._alone(NAME), _told():
            client = MlflowClient(url, url)
            client.search_registered_models(max_results=1)  # makes its tables
            client.search_experiments(max_results=1)
        return client

    @contextmanager
    def _locked(self, name: str) -> Iterator[Connection]:
        """Alone with a model, over all processes; a transaction that holds the lock and may read."""
        with self._client(), self._alone(name) as line:
            yield line

    @contextmanager
    def _alone(self, key: str) -> Iterator[Connection]:
        from sqlalchemy import text

        with self._database.begin() as line:
            line.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            line.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"{NAME}:{key}"})
            yield line

    def _record(self, name: str, about: About, tags: Mapping[str, str]) -> int:
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException

        with self._client() as client:
            with suppress(MlflowException):
                client.create_registered_model(name)
            known = client.get_experiment_by_name(name)
            place = (self._folder / name).as_uri()
            experiment = known.experiment_id if known else client.create_experiment(name, artifact_location=place)
            run = client.create_run(experiment, tags={"mlflow.source.git.commit": about.revision}).info.run_id
            at = int(about.trained_at.timestamp() * 1000)
            figures = {about.measure: about.score, **about.metrics}
            metrics = [Metric(key, value, at, 0) for key, value in figures.items()]
            made_of = {"seed": about.seed, "horizon": about.horizon, "features": about.features, **about.parameters}
            made_of |= {f"lake.{table}": version for table, version in about.lake.items()}
            parameters = [Param(key, str(value)) for key, value in made_of.items()]
            client.log_batch(run, metrics=metrics)
            for first in range(0, len(parameters), BATCH):
                client.log_batch(run, params=parameters[first : first + BATCH])
            client.set_terminated(run)
            made = client.create_model_version(name, tags[FOLDER], run_id=run, tags=dict(tags), await_creation_for=0)
            return int(made.version)

    def _tags(self, name: str, version: int) -> dict[str, str]:
        known = named(name)
        try:
            with self._client() as client:
                found: dict[str, str] = client.get_model_version(known, str(version)).tags
        except BadValue as e:
            raise BadValue("model", f"{name}@{version}", "one that `bourse models` shows") from e
        if missing := [tag for tag in (ABOUT, FILES, FOLDER) if tag not in found]:
            raise _damaged(name, version, f"it lacks {missing[0]}; Bourse did not register it")
        return found

    def _aliases(self, name: str) -> dict[str, int]:
        try:
            with self._client() as client:
                found = client.get_registered_model(name).aliases
        except BadValue:
            return {}
        return {alias: int(version) for alias, version in found.items()}

    def _champion(self, name: str, version: int | None) -> About | None:
        return None if version is None else self.about(name, version)

    def _install(self, name: str, version: int, previous: int | None, kind: Any, *, because: str, by: str) -> Promotion:
        """On record first: from there on the alias can be put right, whatever happens."""
        from sqlalchemy import text

        now = datetime.now(UTC)
        made = Promotion(
            name=name, version=version, previous=previous, kind=kind, because=because or kind, by=by, at=now
        )
        columns = ", ".join(made.model_dump())
        values = ", ".join(f":{column}" for column in made.model_dump())
        with self._database.begin() as line:
            line.execute(text(f"INSERT INTO promotions ({columns}) VALUES ({values})"), made.model_dump())  # noqa: S608
        self._settle(name, [made])
        return made

    def _settle(self, name: str, history: list[Promotion]) -> None:
        """The aliases are what the record says."""
        version, aliases = champion(history), self._aliases(name)
        if version is not None and aliases.get(CHAMPION) != version:
            self._name(name, CHAMPION, version)
        if version is not None and aliases.get(CHALLENGER) == version:
            with self._client() as client:
                client.delete_registered_model_alias(name, CHALLENGER)

    def _name(self, name: str, alias: str, version: int) -> None:
        with self._client() as client:
            client.set_registered_model_alias(name, alias, str(version))

    def _history(self, line: Connection, name: str) -> list[Promotion]:
        from sqlalchemy import text

        columns = ", ".join(Promotion.model_fields)
        asked = text(f"SELECT {columns} FROM promotions WHERE name = :name ORDER BY id")  # noqa: S608
        return [Promotion.model_validate(dict(row)) for row in line.execute(asked, {"name": name}).mappings()]

    def _keep(self, about: About, keeper: str) -> None:
        for table, version in about.lake.items():
            if self._lake is None:
                raise BadValue("lake", f"{table} {version}", "kept by somebody; give the registry the lake")
            self._lake.keep(table, version, keeper, datetime.now(UTC), self._kept)

    def _release(self, about: About, keeper: str) -> None:
        if about.lake and self._lake is not None:
            self._lake.release(keeper)


@contextmanager
def _told() -> Iterator[None]:
    """What MLflow raises, as what the caller does next."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as e:
        said = " ".join(str(e).split("\n", 1)[0].split())
        if e.error_code in ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR"):
            raise LineDown(NAME, said) from e
        if e.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise BadValue("model", said, "one that `bourse models` shows") from e
        raise StoreRefused(NAME, said) from e


def _tags(files: Mapping[str, bytes], about: About) -> dict[str, str]:
    for file in files:
        if FILE.fullmatch(file) is None:
            raise BadValue("files", file, "names of letters, digits and ._-, at most 100")
    if not files:
        raise BadValue("files", "none", "at least one file")
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    found = {ABOUT: about.model_dump_json(), FILES: json.dumps(digests, sort_keys=True)}
    for tag, text in found.items():
        if len(text) > MOST_TAG:
            raise BadValue(tag, f"{len(text)} characters", f"at most {MOST_TAG}")
    return found


def _about(name: str, version: int, tags: Mapping[str, str]) -> About:
    try:
        return About.model_validate_json(tags[ABOUT])
    except (KeyError, ValidationError) as e:
        raise _damaged(name, version, "what is on record of it cannot be read") from e


def _write(place: Path, files: Mapping[str, bytes]) -> None:
    """All of them on the disk before the folder has its name."""
    part = place.with_name(f"{place.name}.part")
    part.mkdir(parents=True)
    for file, content in files.items():
        with (part / file).open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
    part.rename(place)
    for folder in (place, place.parent):
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _damaged(name: str, version: int, what: str) -> StoreRefused:
    return StoreRefused(f"{name}@{version}", f"{what}; restore it from a backup, or roll back and train again")
