"""What the shard controller last said of itself, read from the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.reading import Reader, parse_json
from botshard.store.base import ObjectNotFoundError, ObjectStore
from botshard.store.layout import CONTROLLER_STATUS

__all__ = ["ControllerView", "decode_controller", "read_controller"]


@dataclass(frozen=True, slots=True)
class ControllerView:
    """Empty where no controller has run yet."""

    epoch: int = 0
    """Of the table that it published last."""
    waiting: tuple[str, ...] = ()
    """What its next step waits for."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why a bot cannot be placed, by bot id; the first thousand."""
    refused_count: int = 0
    problems: Mapping[str, str] = field(default_factory=dict)
    """What it refused, by where that stands; the last good one of each stays in force."""


def read_controller(store: ObjectStore, /) -> ControllerView:
    """The status in the store; a damaged one is its own problem. Raises: StoreError."""
    try:
        return decode_controller(store.get(CONTROLLER_STATUS).data)
    except ObjectNotFoundError:
        return ControllerView()
    except InvalidDocumentError as error:
        return ControllerView(problems={CONTROLLER_STATUS: str(error)})


def decode_controller(data: bytes, /) -> ControllerView:
    """The status in `data`. Raises: InvalidDocumentError."""
    reader = Reader.of(parse_json(data, CONTROLLER_STATUS), CONTROLLER_STATUS)
    view = ControllerView(
        epoch=reader.integer("epoch"),
        waiting=tuple(str(sentence) for sentence in reader.items("waiting")),
        refused={bot: str(reason) for bot, reason in reader.inner("refused").value.items()},
        refused_count=reader.integer("refusedCount"),
        problems={where: str(why) for where, why in reader.inner("problems").value.items()},
    )
    reader.finish(CONTROLLER_STATUS)
    return view
