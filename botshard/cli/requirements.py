"""Which packages each part of the system needs, and whether those that are installed will do. Pure but for `installed`.

The table says what `pyproject.toml` says (a test compares them); it is here because a system that cannot start must
still be able to tell why.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from botshard.cli.checks import Check, Verdict

__all__ = ["REQUIREMENTS", "Requirement", "check_requirement", "installed"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One package, by the names of its distributions: any of them will do."""

    names: tuple[str, ...]
    at_least: str
    extra: str = ""
    """Of `pip install 'botshard[extra]'`; empty: everybody needs it."""
    below: str = ""
    """The first version that does not work; empty: none is known."""
    why_below: str = ""
    purpose: str = ""
    """What does not work without it."""


REQUIREMENTS = (
    Requirement(("google-re2",), "1.1.20240702"),
    Requirement(("minio",), "7.2.20"),
    Requirement(("numpy",), "1.26"),
    Requirement(("orjson",), "3.10"),
    Requirement(("prometheus-client",), "0.21"),
    Requirement(("pydantic",), "2.9"),
    Requirement(("pysimdjson",), "7.0"),
    Requirement(("pyyaml",), "6.0"),
    Requirement(("cryptography",), "44", "router", purpose="the router"),
    Requirement(("fastapi",), "0.115", "router", purpose="the router"),
    Requirement(("httptools",), "0.6", "router", purpose="the router"),
    Requirement(("pyjwt",), "2.10.1", "router", purpose="the router"),
    Requirement(("uvloop",), "0.21", "router", purpose="the router"),
    Requirement(("kserve",), "0.21", "runtime", "0.22", "the runtimes are tested with 0.21", "the pools"),
    Requirement(
        ("kubernetes",), "31", "runtime", "37", "its serializer breaks the kserve models in one process", "the pools"
    ),
    Requirement(("torch",), "2.6", "runtime-torch", purpose="bots of framework torch"),
    Requirement(("safetensors",), "0.5", "runtime-torch", purpose="bots of framework torch"),
    Requirement(("tokenizers",), "0.21", "runtime-torch", purpose="bots on a backbone"),
    Requirement(("onnxruntime",), "1.32", "runtime-onnx", purpose="bots of framework onnx"),
    Requirement(("tensorflow-cpu", "tensorflow"), "2.18", "runtime-tensorflow", purpose="bots of framework tensorflow"),
)


def installed(names: tuple[str, ...], /) -> tuple[str, str] | None:
    """Name and version of the first of these distributions that is installed. Imports none of them."""
    for name in names:
        try:
            return name, installed_version(name)
        except PackageNotFoundError:
            continue
    return None


def check_requirement(
    needed: Requirement, /, *, find: Callable[[tuple[str, ...]], tuple[str, str] | None] = installed
) -> Check:
    """Whether what is installed will do."""
    name = needed.names[0]
    extra = f"botshard[{needed.extra}]" if needed.extra else "botshard"
    found = find(needed.names)
    if found is None:
        purpose = f"; without it this machine does not run {needed.purpose}" if needed.purpose else ""
        verdict = Verdict.WARN if needed.purpose else Verdict.FAIL
        return Check(name, verdict, "not installed", f"pip install '{extra}'{purpose}")
    found_name, version = found
    shown = version if found_name == name else f"{found_name} {version}"
    if _numbers(version) < _numbers(needed.at_least):
        return Check(name, Verdict.FAIL, shown, f"pip install '{found_name}>={needed.at_least}'")
    if needed.below and _numbers(version) >= _numbers(needed.below):
        advice = f"pip install '{found_name}<{needed.below}': {needed.why_below}"
        return Check(name, Verdict.FAIL, shown, advice)
    return Check(name, Verdict.OK, shown)


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version as numbers: `2.15.0+cu130` is (2, 15, 0)."""
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()
