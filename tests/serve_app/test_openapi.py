"""OpenAPI: whatever a stranger makes up out of our document, the gateway answers as the document says."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from market.access import Role
from tests.serve_app.door import Guarded
from tests.serve_app.house import RELIANCE, TODAY, after, live, minutes, tick

EXAMPLES = 5
SETTINGS: dict[str, Any] = {
    "max_examples": EXAMPLES,
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
AWAY = (503, 504)
"""What lives elsewhere is not there in this house, and the answer says so: no mistake of ours."""


@pytest.mark.endurance
@pytest.mark.timeout(900)
def test_nothing_made_up_breaks_the_gateway_or_its_schemas(guarded: Guarded) -> None:
    house = guarded.house
    house.say(tick(RELIANCE, after(TODAY, 1), 1000), live(after(TODAY, 2)))
    house.fold(minutes(RELIANCE, TODAY, 0, 3))
    guarded.person("root", Role.ADMIN)
    told = guarded.bearer("root")
    schema = schemathesis.openapi.from_asgi("/openapi.json", guarded.client.app)
    found: dict[str, str] = {}

    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == "/api/v1/auth/logout":
            continue

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(**SETTINGS)
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(headers=told)
            if answer.status_code in AWAY:
                assert answer.headers["content-type"] == ["application/problem+json"]
                return
            case.validate_response(answer, checks=list(CHECKS))

        try:
            ask()
        except Exception as e:
            found[operation.label] = f"{type(e).__name__}: {e}"[:2000]

    assert found == {}
