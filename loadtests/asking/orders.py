"""What the asking process is told, as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from loadtests.traffic.timetable import Timetable

__all__ = ["Asked", "Orders"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A bot as whoever asks it knows it."""

    id: str
    answers: Sequence[Sequence[float]]
    """Values of its only output, by version from 1 on; any of them is right."""
    url: str = ""
    """Where it is, if it is not where all the others are."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with each of its requests."""

    @property
    def path(self) -> str:
        """Where it is asked: a path, or a whole address."""
        return f"{self.url}/v2/models/{self.id}/infer"


@dataclass(frozen=True, slots=True)
class Orders:
    """One run of the asking process."""

    timetable: Timetable
    bots: Sequence[Asked]
    question: str
    """Body of every infer request: one input, FP32."""
    url: str
    """Of a router, or of anything that speaks the protocol."""
    grpc: str
    """`host:port` of one that speaks it over gRPC; empty: the timetable asks nobody that way."""
    results: Path
    """Where exchanges are written."""
    users: int
    """How many requests may be open at once over each protocol; what is due beyond them waits, and its wait counts."""
    patience_s: float = 30.0
    """After which an answer is not waited for any longer."""

    def write(self, path: Path) -> None:
        """Into a file."""
        document = {
            "timetable": self.timetable.document(),
            "bots": [[bot.id, list(map(list, bot.answers)), bot.url, dict(bot.headers)] for bot in self.bots],
            "question": self.question,
            "url": self.url,
            "grpc": self.grpc,
            "results": str(self.results),
            "users": self.users,
            "patienceS": self.patience_s,
        }
        path.write_text(json.dumps(document))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Of a file."""
        document: dict[str, Any] = json.loads(path.read_text())
        return cls(
            Timetable.read(document["timetable"]),
            [Asked(*bot) for bot in document["bots"]],
            document["question"],
            document["url"],
            document["grpc"],
            Path(document["results"]),
            document["users"],
            document["patienceS"],
        )
