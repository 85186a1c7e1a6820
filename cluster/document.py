"""The cluster file as a document: YAML that Ray takes, with our own part under `metadata: bourse:`.

Whatever is wrong is a `BadSetting` of one line: the file, the path or line in it, and what is allowed there.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError, best_match

from market.errors import BadSetting

OURS = "metadata.bourse"


def document(file: Path) -> dict[str, Any]:
    """The whole file as plain values, after Ray's schema. Raises BadSetting."""
    try:
        values = _values(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise BadSetting(str(file), e.strerror or "unreadable", "a cluster file that can be read") from None
    except UnicodeDecodeError as e:
        raise BadSetting(file.name, f"byte {e.start}", "text in UTF-8") from None
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        at = f"{file.name}: line {mark.line + 1}, column {mark.column + 1}" if mark else file.name
        problem = "a tab" if "'\\t'" in (e.problem or "") else e.problem or "unreadable"
        raise BadSetting(at, problem, "YAML, indented with spaces") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as e:
        raise BadSetting(file.name, " ".join(str(e).split()), "plain YAML") from None
    if not isinstance(values, dict):
        raise BadSetting(file.name, sort(values), "a mapping, as `ray up` takes it")
    error = best_match(Draft7Validator(_schema()).iter_errors(values))
    if error is not None:
        raise _against_schema(file.name, error)
    return values


def ours(file: Path, values: dict[str, Any]) -> dict[str, Any]:
    """What stands under `metadata: bourse:`; nothing where the file says nothing. Raises BadSetting."""
    metadata = values.get("metadata", {})
    slip = get_close_matches("bourse", metadata, n=1)
    if "bourse" not in metadata and slip:
        raise stranger(f"{file.name}: metadata.{slip[0]}", slip[0], ["bourse"])
    settings = metadata.get("bourse")
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise BadSetting(f"{file.name}: {OURS}", shown(settings), "a mapping")
    return settings


def check_with_ray(file: Path) -> None:
    """Ask Ray itself, offline, whether `ray up` would take the file. Loads Ray. Raises BadSetting."""
    from click import ClickException
    from ray.autoscaler._private.util import prepare_config, validate_config

    values = document(file)
    try:
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            validate_config(prepare_config(values))
    except (ClickException, NotImplementedError, ValueError, RuntimeError, ValidationError) as e:
        reason = " ".join(str(e).split())
        raise BadSetting(file.name, values["cluster_name"], f"Ray says: {reason}") from None


def stranger(where: str, key: str, known: Iterable[str]) -> BadSetting:
    """The error for a key that nobody reads."""
    known = list(known)
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return BadSetting(where, key, f"{hint}known keys here: {', '.join(known) or 'none'}")


def shown(value: object) -> object:
    """The value itself, or its sort where it is too long for a line."""
    return value if isinstance(value, str | int | float) and len(repr(value)) <= 80 else sort(value)


def sort(value: object) -> str:
    """What people call such a value."""
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "a yes or no", type(None): "nothing"}
    return names.get(type(value), "a number")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """YAML in which a key stands once; plain YAML would silently take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} twice", key.start_mark)
            seen.add(str(key.value))
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _values(text: str) -> Any:
    loader = _Loader(text)
    try:
        # By way of JSON: dates and other things YAML sees in plain words become text again.
        return json.loads(json.dumps(loader.get_single_data(), default=str))
    finally:
        loader.dispose()


def _schema() -> dict[str, Any]:
    # Found, not imported: importing Ray takes a second.
    spec = find_spec("ray")
    if spec is None or not spec.submodule_search_locations:
        raise BadSetting("ray", "nothing", "an installed Ray: make setup")
    file = Path(spec.submodule_search_locations[0]) / "autoscaler" / "ray-schema.json"
    schema: dict[str, Any] = json.loads(file.read_text())
    return schema


def _against_schema(name: str, error: ValidationError) -> BadSetting:
    steps = [str(step) for step in error.absolute_path]
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        key = next(key for key in error.instance if key not in known)
        return stranger(f"{name}: {'.'.join([*steps, key])}", key, known)
    if error.validator == "required":
        key = next(key for key in error.validator_value if key not in error.instance)
        return BadSetting(f"{name}: {'.'.join([*steps, key])}", "nothing", "Ray needs this key")
    return BadSetting(
        f"{name}: {'.'.join(steps)}", shown(error.instance), f"Ray wants {error.validator} {error.validator_value}"
    )
