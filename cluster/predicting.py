"""The predictor's application, by config: deployed at the start, and the commands that change it while it runs.

`serve.run` would restart every replica on each change. A config whose `user_config` alone differs keeps the processes:
so it is retuned. One whose `args` differ replaces them, the new one first: so new code and settings are taken.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.console import Config, answer, progress, refuse, screen, settings_of, told
from cluster.settings import Settings
from market.errors import LineDown

BUILDER = "serve_app.predictor:application"
APP, NAME = "predictor", "Predictor"
KEPT = ("bus", "cache", "registry", "models", "horizons")
"""Where a running instance has its stores, a recorded day has others than the file says, and what Analysis asks for."""
REPLACE_SECONDS, LOOK_SECONDS = 300.0, 0.5

app = typer.Typer()

Weight = Annotated[
    float | None, typer.Option(help="The share of instruments the challenger answers for, 0 to 1.", min=0, max=1)
]
Shadow = Annotated[
    bool | None, typer.Option("--shadow/--no-shadow", help="Whether the challenger answers everything unseen, too.")
]


@app.command()
def predictor(
    challenger_weight: Weight = None,
    shadow: Shadow = None,
    wait_ms: Annotated[float | None, typer.Option(help="So long callers wait for others.", min=0, max=100)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The record itself.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """What serves each horizon; with options, divide callers anew, at once and without a restart.

    What is set here lasts until Bourse is started again; what shall last stands in cluster.yaml, under predictor.
    """
    settings = settings_of(config)
    asked = {"challenger_weight": challenger_weight, "shadow": shadow, "wait_ms": wait_ms}
    changes = {name: value for name, value in asked.items() if value is not None}
    if changes:
        with told():
            tuning = retune(settings, changes)
        screen.print(", ".join(f"{name} {value}" for name, value in tuning.items()), markup=False)
        return
    found = answer(settings, "/models")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    table = Table("model", "champion", "challenger", "members", box=None)
    for one in found["models"]:
        members = ", ".join(f"{name} {weight:.0%}" for name, weight in one["members"].items())
        table.add_row(one["name"], one["champion"], one["challenger"] or "", members)
    screen.print(table)
    screen.print(", ".join(f"{name} {value}" for name, value in found["tuning"].items()), markup=False)
    for version, reason in found["refused"].items():
        screen.print(f"{version} is not used: {reason}", markup=False, soft_wrap=True)
    if found["trouble"]:
        screen.print(found["trouble"], markup=False, soft_wrap=True)


@app.command()
def redeploy(config: Config = Path("cluster.yaml")) -> None:
    """Replace the running predictor by one of the code and the config as they are now; no request fails meanwhile.

    What bourse predictor has changed stays. When the new one does not come up, the old one goes on.
    """
    settings = settings_of(config)
    with told(), progress("redeploy") as (bar, task):
        lines = replace(settings, lambda share, text: bar.update(task, completed=share, text=text))
    for line in lines:
        screen.print(line, markup=False, soft_wrap=True)


def application(given: dict[str, Any]) -> dict[str, Any]:
    """The application as a Serve config has it: `given` builds it, its tuning stands apart, where it can be changed."""
    tuned = [{"name": NAME, "user_config": given["tuning"]}]
    return {"name": APP, "import_path": BUILDER, "route_prefix": None, "args": given, "deployments": tuned}


def deploy(given: dict[str, Any]) -> None:
    """Hand the application to the Serve that runs; it comes up by itself. Raises what Ray does."""
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    _get_global_client().deploy_apps(ServeDeploySchema.model_validate({"applications": [application(given)]}))


def retune(settings: Settings, changes: dict[str, Any]) -> dict[str, Any]:
    """Change some of what the running predictor was tuned to; all of it as it is now. Raises LineDown."""
    with _refusals():
        client = _client(settings)
        wanted = _running(client)["deployed_app_config"]
        (deployment,) = wanted["deployments"]
        deployment["user_config"] = tuning = {**deployment["user_config"], **changes}
        client.deploy_applications({"applications": [wanted]})
    found: dict[str, Any] = tuning
    return found


def replace(settings: Settings, progress: Callable[[float, str], None]) -> list[str]:
    """Put replicas of this code and these settings in the place of those that run; what there is to say of it.

    Returns when only new ones are left. Raises LineDown: they did not come up, and the old ones go on.
    """
    with _refusals():
        client = _client(settings)  # first: it says to Ray who we are, and Ray listens when it is imported
        before = _running(client)["deployed_app_config"]
        given = _given(settings)
        held, plan = json.loads(before["args"]["plan"]), json.loads(given["plan"])
        plan |= {name: held[name] for name in KEPT}
        given |= {"plan": json.dumps(plan), "environment": before["args"]["environment"], "asked_at": time.time()}
        wanted = application(given)
        wanted["deployments"] = before["deployments"]
        old = _replicas(_running(client))
        client.deploy_applications({"applications": [wanted]})
        try:
            _wait(client, old, progress)
        except LineDown:
            client.deploy_applications({"applications": [before]})
            raise
    lines = [f"the predictor is of {plan['revision']}, was of {held.get('revision') or 'unknown'}"]
    if list(settings.predictor.horizons) != held["horizons"]:
        lines.append(f"the horizons stay {', '.join(held['horizons'])} until Bourse is started again")
    return lines


def _given(settings: Settings) -> dict[str, Any]:
    from cluster.stores import Stores
    from cluster.wiring import Wiring

    return Wiring(settings, Stores(settings, settings.run_folder)).predictor()


def _wait(client: Any, old: set[str], progress: Callable[[float, str], None]) -> None:
    """Until none of the old replicas is left. Raises LineDown: what was deployed does not come up."""
    end = time.monotonic() + REPLACE_SECONDS
    while True:
        running = _running(client)
        now, state = _replicas(running), running["status"]
        left = old & now
        if now and not left and state == "RUNNING":
            return
        if state == "DEPLOY_FAILED" or time.monotonic() > end:
            words = [running.get("message"), *(one.get("message") for one in running["deployments"].values())]
            said = " ".join(" ".join(filter(None, words)).split())[-300:] or state
            raise LineDown(APP, f"the new one does not come up, the old one goes on: {said}")
        progress(0.5 if now - old else 0.1, f"{len(now - old)} new, {len(left)} old")
        time.sleep(LOOK_SECONDS)


def _replicas(running: dict[str, Any]) -> set[str]:
    return {one["replica_id"] for deployment in running["deployments"].values() for one in deployment["replicas"]}


def _running(client: Any) -> dict[str, Any]:
    found: dict[str, Any] | None = client.get_serve_details()["applications"].get(APP)
    if found is None or not found.get("deployed_app_config"):
        refuse("no predictor runs here; bourse status says how its parts are")
    return found


@contextmanager
def _refusals() -> Iterator[None]:
    """What Ray's client makes of every refusal becomes a LineDown."""
    try:
        yield
    except typer.Exit:  # it is a RuntimeError
        raise
    except (RuntimeError, OSError, ValueError, KeyError) as e:
        raise LineDown("ray serve", " ".join(str(e).split())[:300]) from e


def _client(settings: Settings) -> Any:
    from cluster.head import environment

    os.environ.update({k: v for k, v in environment(settings, settings.run_folder).items() if "AUTH" in k})
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
    from ray.exceptions import RayError

    try:
        return ServeSubmissionClient(f"http://127.0.0.1:{settings.ports.dashboard}")
    except (RuntimeError, OSError, ValueError, RayError) as e:
        said = " ".join(str(e).split())[:300]
        raise LineDown("ray serve", f"no dashboard on port {settings.ports.dashboard}: {said}") from e
