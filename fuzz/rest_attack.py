"""Requests that a description of an API allows, and some that it does not, sent to a server by schemathesis.

A description alone hardly reaches what is behind the first check: no name of a bot is right, no tensor fits. So the
parameters of paths are often names of bots that are there, and bodies tensors that these bots take.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import CheckFunction
from schemathesis.checks import not_a_server_error as no_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

__all__ = ["Attack", "Found", "attack"]

_PATIENCE_S = 10.0
"""For an answer; longer counts as a hang."""
_REFUSED = frozenset({501, 503})
"""Not offered; not now. Whoever answers so says it on purpose."""
_BODY_WEIGHT = 6
"""Of an operation with a body, where one with a name in its path has 1: there is more to get wrong."""
_BOT_NAMES = frozenset({"MODEL_NAME", "model_name", "bot"})
_VERSIONS = frozenset({"MODEL_VERSION", "model_version", "version"})
_VERSIONS_TRIED = ("1", "2", "0", "01", "-1", "1e0")


@dataclass(frozen=True, slots=True)
class Found:
    """A case whose answer is not right."""

    operation: str
    problem: str
    reproduction: str


@dataclass(slots=True)
class Attack:
    """What an attack has seen."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)


def attack(
    url: str,
    description: Mapping[str, Any],
    *,
    bots: Mapping[str, Sequence[Mapping[str, Any]]],
    cases: int,
    seed: int | None = None,
) -> Attack:
    """Send so many cases, most of them to operations that have bodies.

    Args:
        url: of the server.
        description: an OpenAPI document.
        bots: names of bots that are there, and for each the schemas of tensors that it takes.
        cases: at most; operations that have fewer get fewer.
        seed: of what is drawn; None: another one each time.
    """
    tensors = [tensor for some in bots.values() for tensor in some]
    schema = schemathesis.openapi.from_dict(_with_tensors(description, tensors))
    operations: list[Any] = [cast(Any, result).ok() for result in schema.get_all_operations()]
    seen = Attack()
    weights = [_BODY_WEIGHT if operation.body else len(operation.path_parameters) for operation in operations]
    with requests.Session() as session:
        for operation, weight in zip(operations, weights, strict=True):
            share = max(1, round(cases * weight / sum(weights)))
            _attack_one(url, operation, session, seen, bots=list(bots), cases=share, seed=seed)
    return seen


def _attack_one(
    url: str,
    operation: Any,
    session: requests.Session,
    seen: Attack,
    *,
    bots: Sequence[str],
    cases: int,
    seed: int | None,
) -> None:
    ways = [schemathesis.GenerationMode.POSITIVE]
    if operation.body or operation.query:
        ways.append(schemathesis.GenerationMode.NEGATIVE)
    checks: list[CheckFunction] = [no_server_error, response_schema_conformance]

    @hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(
        case=st.one_of([operation.as_strategy(generation_mode=way) for way in ways]),
        known=_parameters([parameter.name for parameter in operation.path_parameters], bots),
    )
    def send(case: Any, known: dict[str, str]) -> None:
        seen.cases += 1
        case.path_parameters = {**(case.path_parameters or {}), **known}
        reproduction = case.as_curl_command()
        try:
            response = case.call(base_url=url, session=session, timeout=_PATIENCE_S)
        except requests.RequestException as error:
            seen.found.append(Found(operation.label, f"no answer: {error}"[:500], reproduction))
            return
        seen.statuses[response.status_code] += 1
        problem = _problem_of(case, response, checks)
        if problem:
            seen.found.append(Found(operation.label, problem, reproduction))

    if seed is not None:
        send = hypothesis.seed(seed)(send)
    send()


def _problem_of(case: Any, response: Any, checks: list[CheckFunction]) -> str:
    status = response.status_code
    if status in _REFUSED:
        return ""
    if status >= 400 and case.method != "HEAD":
        try:
            document = response.json()
        except ValueError:
            return f"{status}: the body is not JSON: {response.content[:200]!r}"
        if list(document) != ["error"] or not isinstance(document["error"], str):
            return f"{status}: not the protocol's form of an error: {response.content[:200]!r}"
    problems: list[str] = []
    try:
        case.validate_response(response, checks=checks)
    except* (AssertionError, schemathesis.errors.SchemathesisError) as group:
        problems = [f"{status}: {error}"[:500] for error in group.exceptions]
    return "; ".join(problems)


def _with_tensors(description: Mapping[str, Any], tensors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The description, with bodies of inferences that may also be tensors that the bots take."""
    document: dict[str, Any] = copy.deepcopy(dict(description))
    for path, item in document["paths"].items():
        if not path.endswith("/infer"):
            continue
        for method in item.keys() - {"parameters"}:
            content = item[method].setdefault("requestBody", {}).setdefault("content", {})
            body = content.setdefault("application/json", {})
            body["schema"] = {"anyOf": [_request(tensors), body.get("schema", {"type": "object"})]}
            content.pop("application/octet-stream", None)  # cannot be drawn from a description
    return document


def _parameters(names: Sequence[str], bots: Sequence[str]) -> st.SearchStrategy[dict[str, str]]:
    """For some of a path's parameters, values that lead somewhere."""
    known: dict[str, Sequence[str]] = {**dict.fromkeys(_BOT_NAMES, bots), **dict.fromkeys(_VERSIONS, _VERSIONS_TRIED)}
    # Seldom None, which leaves what the description allows; the first of the versions is the right one.
    often = {
        name: st.sampled_from([*known[name], known[name][0], known[name][0], None]) for name in names if name in known
    }
    return st.fixed_dictionaries(often).map(lambda drawn: {name: value for name, value in drawn.items() if value})


def _request(tensors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    flag = {"type": "boolean"}
    output = {
        "type": "object",
        "properties": {
            "name": {"enum": ["label", "probabilities", "y", "other"]},
            "parameters": {
                "type": "object",
                "properties": {"binary_data": flag, "classification": flag},
            },
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": {"anyOf": list(tensors)}, "minItems": 1, "maxItems": 2},
            "outputs": {"type": "array", "items": output, "maxItems": 3},
            "parameters": {"type": "object", "properties": {"binary_data_output": flag}},
        },
        "required": ["inputs"],
        "additionalProperties": False,
    }
