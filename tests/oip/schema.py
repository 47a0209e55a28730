"""Validates answers against the protocol's own OpenAPI description, which lies beside this file unchanged."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

_DESCRIPTION = Path(__file__).with_name("open_inference_rest.yaml")


@functools.cache
def _validator(schema_name: str) -> Draft202012Validator:
    description: dict[str, Any] = yaml.safe_load(_DESCRIPTION.read_text("utf-8"))
    if schema_name not in description["components"]["schemas"]:
        raise KeyError(schema_name)
    return Draft202012Validator({**description, "$ref": f"#/components/schemas/{schema_name}"})


def assert_valid(answer: object, schema_name: str) -> None:
    """Fails with every violation when `answer` (decoded JSON) is not a `schema_name` of the description."""
    violations = [f"{error.json_path}: {error.message}" for error in _validator(schema_name).iter_errors(answer)]
    assert not violations, "\n".join(violations)
