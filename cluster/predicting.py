"""The predictor's application, by config: deployed at the start, and the command that retunes it while it runs.

`serve.run` would restart every replica on each change. A config whose `user_config` alone differs keeps the processes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.console import Config, answer, refuse, screen, settings_of, told
from cluster.settings import Settings
from market.errors import LineDown

BUILDER = "serve_app.predictor:application"
APP, NAME = "predictor", "Predictor"

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
    found = answer(settings.ports.http, "/models")
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
    client = _client(settings)
    try:
        running = client.get_serve_details()["applications"].get(APP)
        if running is None or not running.get("deployed_app_config"):
            refuse("no predictor runs here; bourse status says how its parts are")
        wanted = running["deployed_app_config"]
        (deployment,) = wanted["deployments"]
        deployment["user_config"] = tuning = {**deployment["user_config"], **changes}
        client.deploy_applications({"applications": [wanted]})
    except (RuntimeError, OSError, ValueError, KeyError) as e:  # what Ray's client makes of every refusal
        raise LineDown("ray serve", " ".join(str(e).split())[:300]) from e
    found: dict[str, Any] = tuning
    return found


def _client(settings: Settings) -> Any:
    from cluster.head import environment

    os.environ.update({k: v for k, v in environment(settings, settings.run_folder).items() if "AUTH" in k})
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

    try:
        return ServeSubmissionClient(f"http://127.0.0.1:{settings.ports.dashboard}")
    except (RuntimeError, OSError, ValueError) as e:
        said = " ".join(str(e).split())[:300]
        raise LineDown("ray serve", f"no dashboard on port {settings.ports.dashboard}: {said}") from e
