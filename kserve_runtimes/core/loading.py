"""From a version in the catalog to a bot in memory: fetch, check, compile, load, measure, try out. Runs in threads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from botshard.bots.limits import Limits
from botshard.bots.manifest_spec import spec_of_manifest
from botshard.bots.model_files import check_model_files
from botshard.processing.pipeline import compile_pipeline
from botshard.sharding.catalog import BotSpec, TensorSpec, Version
from botshard.sharding.errors import InvalidDocumentError, Problem, TerminalError
from botshard.sharding.ids import BotId
from botshard.sharding.units import format_bytes
from botshard.store.artifact_cache import ArtifactCache
from botshard.store.artifacts import cached_manifest
from botshard.store.base import ObjectStore
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.model import Framework, HeadFramework, Model
from kserve_runtimes.core.warm_up import warm_up

__all__ = ["BotLoader", "TooLargeError"]

_ANY_SIZE = Limits(artifact_bytes=1 << 62, artifact_files=1 << 31)
"""How large a bot may be was decided when it was published, and is bounded here by the pool's memory."""


class TooLargeError(TerminalError):
    """A bot does not fit into its pool's memory."""


@dataclass(frozen=True, slots=True)
class BotLoader:
    """Loads bots of one framework from one store."""

    store: ObjectStore
    cache: ArtifactCache
    framework: Framework
    most_bytes: int | None
    """Bound on one bot's footprint; None: none."""

    def __call__(self, bot_id: BotId, version: Version, /) -> LoadedBot:
        """The bot.

        Raises: InvalidDocumentError, StoreError, TooLargeError, SampleFailedError, and whatever the framework raises on
            a strange file.
        """
        hinted = version.resources.memory_bytes
        self._check_size(bot_id, hinted or version.size_bytes, "declared" if hinted else "its files")
        started_s = time.monotonic()
        with self.cache.use(self.store, version.artifact, size_bytes=version.size_bytes) as folder:
            fetched_s = time.monotonic()
            bot = self._load(bot_id, version, folder)
        bot.fetch_s = fetched_s - started_s
        bot.made_s = time.monotonic() - fetched_s
        return bot

    def _load(self, bot_id: BotId, version: Version, folder: Path) -> LoadedBot:
        started_s = time.monotonic()
        document = cached_manifest(folder).spec
        spec = spec_of_manifest(document, f"bot {bot_id} version {version.number}")
        self._check_spec(bot_id, spec.id, spec.framework)
        # Publishing checked the same, but the store may hold what another program put there.
        _, problems = check_model_files(folder, spec.model, framework=spec.framework, limits=_ANY_SIZE)
        if problems:
            raise InvalidDocumentError(f"bot {bot_id} version {version.number}", problems)
        pipeline = compile_pipeline(spec, folder)
        model = self._load_model(spec, folder, pipeline.model_inputs)
        bot = LoadedBot(version=version, spec=spec, pipeline=pipeline, model=model)
        bot.shared_bytes = self._shared_bytes
        bot.build_s = time.monotonic() - started_s
        with_shared = "measured, with its backbone" if bot.shared_bytes else "measured"
        self._check_size(bot_id, bot.footprint_bytes + bot.shared_bytes, with_shared)
        warm_up(bot, folder)
        return bot

    @property
    def _shared_bytes(self) -> int:
        return self.framework.shared_bytes if isinstance(self.framework, HeadFramework) else 0

    def _load_model(self, spec: BotSpec, folder: Path, inputs: Sequence[TensorSpec]) -> Model:
        if spec.backbone is None:
            return self.framework.load(spec, folder, inputs)
        if not isinstance(self.framework, HeadFramework):
            expected = f"left out: {self.framework.name} has no backbones"
            raise InvalidDocumentError(f"bot {spec.id}", [Problem.of("backbone", spec.backbone, expected)])
        # Most pools have no backbone, and their first answer does not wait for this import.
        from botshard.bots.backbones import Backbones

        return self.framework.load_head(spec, folder, inputs, backbones=Backbones(self.store, self.cache))

    def _check_spec(self, bot_id: BotId, found_id: str, framework: str) -> None:
        problems = []
        if found_id != bot_id:
            problems.append(Problem.of("id", found_id, f"{bot_id!r}, the bot whose catalog entry names this artifact"))
        if framework != self.framework.name:
            problems.append(Problem.of("framework", framework, f"{self.framework.name}, which this pool runs"))
        if problems:
            raise InvalidDocumentError(f"bot {bot_id}", problems)

    def _check_size(self, bot_id: BotId, size_bytes: int, how: str) -> None:
        if self.most_bytes is not None and size_bytes > self.most_bytes:
            most = format_bytes(self.most_bytes)
            raise TooLargeError(
                f"bot {bot_id!r} takes {format_bytes(size_bytes)} ({how}), but its pool has {most};"
                " raise the pool group's memory or make the bot smaller"
            )
