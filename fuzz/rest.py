"""Attacks a replica and a router over REST: `python -m fuzz.rest [--cases N] [--seed S] [--found FILE]`.

Starts both (the router before the replica), with bots of text and of numbers. Cases are shared out among three
descriptions: the protocol's own (`--description FILE`, the one in tests/oip by default) against the replica, what the
replica says of itself, and what the router says of itself. Every case must be answered within ten seconds, none with
500, errors in the protocol's form, answers as the description has them. The exit code is 1 where one is not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from benchmarks.pool_bots import MLP_LAYERS, publish_all, text_requests, write_mlp, write_text_bot
from benchmarks.pool_subjects import Subject, free_port, module, running
from fuzz.rest_attack import Attack, attack

__all__ = ["BOTS", "PROTOCOL", "main"]

PROTOCOL = Path(__file__).parent.parent / "tests" / "oip" / "open_inference_rest.yaml"
_SHOWN = 20
_NUMBER = {"type": "number", "minimum": -1e30, "maximum": 1e30}
BOTS: Mapping[str, list[Mapping[str, Any]]] = {
    "text": [
        {
            "type": "object",
            "properties": {
                "name": {"const": "text"},
                "datatype": {"const": "BYTES"},
                "shape": {"enum": [[1, 1], [2, 1], [3, 1]]},
                "data": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
            },
            "required": ["name", "datatype", "shape", "data"],
            "additionalProperties": False,
        }
    ],
    "mlp": [
        {
            "type": "object",
            "properties": {
                "name": {"const": "x"},
                "datatype": {"enum": ["FP32", "FP64"]},
                "shape": {"const": [1, MLP_LAYERS[0]]},
                "data": {"type": "array", "items": _NUMBER, "minItems": MLP_LAYERS[0], "maxItems": MLP_LAYERS[0]},
            },
            "required": ["name", "datatype", "shape", "data"],
            "additionalProperties": False,
        }
    ],
}
"""Bots that are served, and the tensors that each takes."""


def main() -> int:
    """Attack, and tell what was found."""
    options = argparse.ArgumentParser(description="Attacks a replica and a router over REST")
    options.add_argument("--cases", type=int, default=10_000, help="in all")
    options.add_argument("--seed", type=int, help="of what is drawn (default: another one each time)")
    options.add_argument("--description", type=Path, default=PROTOCOL, help="the protocol's OpenAPI document")
    options.add_argument("--found", type=Path, metavar="FILE", help="write what was found there, as JSON")
    chosen = options.parse_args()
    attacks: dict[str, Attack] = {}
    with tempfile.TemporaryDirectory(prefix="botshard-fuzz-") as folder, _served(Path(folder)) as (replica, router):
        protocol = yaml.safe_load(chosen.description.read_text("utf-8"))
        described = {
            "replica, the protocol's description": (replica, protocol),
            "replica, its own description": (replica, _own_description(replica)),
            "router, its own description": (router, _own_description(router)),
        }
        for name, (url, description) in described.items():
            share = chosen.cases // len(described)
            attacks[name] = attack(url, description, bots=BOTS, cases=share, seed=chosen.seed)
            print(f"{name}: {attacks[name].cases} cases, {dict(sorted(attacks[name].statuses.items()))}", flush=True)
    found = [one for done in attacks.values() for one in done.found]
    for one in found[:_SHOWN]:
        print(f"{one.operation}: {one.problem}\n    {one.reproduction}")
    if chosen.found is not None:
        chosen.found.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", "utf-8")
    print(f"{sum(done.cases for done in attacks.values())} cases, {len(found)} problems")
    return 1 if found else 0


def _own_description(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=10) as answer:  # noqa: S310 - our own server
        document: dict[str, Any] = json.load(answer)
    return document


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, str]]:
    """URLs of a replica and of the router before it."""
    write_mlp(folder / "bots" / "mlp")
    write_text_bot(folder / "bots" / "text")
    port, router_port = free_port(), free_port()
    url, router_url = (f"http://127.0.0.1:{number}" for number in (port, router_port))
    published = publish_all(folder, sorted((folder / "bots").iterdir()), url=url)
    ask = text_requests("text")
    environ = {**published.environ, "RUNTIME_HTTP_PORT": str(port)}
    router = {"ROUTER_STORE_URL": environ["RUNTIME_STORE_URL"], "ROUTER_PORT": str(router_port)}
    subjects = [
        Subject("replica", module("kserve_runtimes"), port, ask, environ),
        Subject("router", module("router"), router_port, ask, {**router, "ROUTER_LOG_LEVEL": "warning"}),
    ]
    with running(subjects):
        yield url, router_url


if __name__ == "__main__":
    sys.exit(main())
