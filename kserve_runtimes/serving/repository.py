"""The pool as KServe's SDK sees it: a repository of models, and a data plane over it.

What the SDK keeps doing (`/metrics`, its own endpoints) goes through these; they hold no state of their own. An entry
appears in the repository when the routing table gives the bot to this pool, whether it is loaded or not. Inference
never comes this way: it goes straight to the core.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botshard import __version__
from botshard.oip.metadata import EXTENSIONS
from botshard.sharding.errors import CallerError
from botshard.sharding.ids import BotId
from kserve_runtimes.core.asked import Call
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.serving import models
from kserve_runtimes.serving.sdk import (
    DataPlane,
    InferenceVerb,
    Model,
    ModelRepository,
)

__all__ = ["BotDataPlane", "BotModel", "BotRepository"]


class BotRepository(ModelRepository):  # type: ignore[misc]
    """The bots of one pool. Made before the pool (in the zygote) and bound to it later."""

    def __init__(self) -> None:
        super().__init__(models_dir="/nonexistent")
        self._pool: Pool | None = None

    def bind(self, pool: Pool, /) -> None:
        """Serve `pool` from now on."""
        self._pool = pool

    @property
    def pool(self) -> Pool:
        """The pool; there is one as soon as anything can ask."""
        if self._pool is None:
            raise CallerError("the repository was asked before it was bound to a pool")
        return self._pool

    def get_model(self, name: str) -> BotModel:
        """The bot as a model. Whether it exists is found out when it is used: the catalog may have to be asked."""
        return BotModel(name, self.pool)

    def get_models(self) -> dict[str, BotModel]:
        """Every bot of the pool."""
        return {entry.id: BotModel(entry.id, self.pool) for entry in self.pool.residents} if self._pool else {}

    async def is_model_ready(self, name: str) -> bool:
        """Whether the bot is loaded."""
        entry = await self.pool.locate(Call(name))
        return entry.slot is not None

    async def load(self, name: str) -> bool:
        """Load the bot and wait for it."""
        await models.load(self.pool, Call(name))
        return True

    def unload(self, name: str) -> None:
        """Take the bot out of memory."""
        models.check_unloadable(self.pool)
        self.pool.residents.evict(BotId(name))


class BotModel(Model):  # type: ignore[misc]
    """One bot as a model of the SDK: a name, and the way to the pool."""

    def __init__(self, name: str, pool: Pool) -> None:
        super().__init__(name)
        entry = pool.residents.get(BotId(name))
        self.ready = entry is not None and entry.slot is not None

    def load(self) -> bool:
        """Nothing: the SDK calls this on its event loop, and the bot is loaded by the request that follows."""
        return self.ready

    async def __call__(
        self,
        body: Any,  # noqa: ARG002 - the SDK's signature
        headers: Mapping[str, str] | None = None,  # noqa: ARG002
        verb: Any = InferenceVerb.PREDICT,
    ) -> Any:
        """Nothing: inference is answered before it comes to the SDK, and its other verb bots do not have."""
        if verb != InferenceVerb.PREDICT:
            raise NotImplementedError("bots have no explainer")
        raise NotImplementedError("inference is asked for over REST or gRPC, not of the SDK's models")


class BotDataPlane(DataPlane):  # type: ignore[misc]
    """The SDK's data plane with our answers where its own are constant or load models on the event loop."""

    def __init__(self, repository: BotRepository) -> None:
        super().__init__(model_registry=repository)
        self._repository = repository

    def metadata(self) -> dict[str, object]:
        """What this server is."""
        return {"name": "botshard", "version": __version__, "extensions": list(EXTENSIONS)}

    async def model_metadata(self, model_name: str) -> dict[str, object]:
        """A bot's inputs and outputs."""
        document, _ = await models.metadata_document(self._repository.pool, Call(model_name))
        return document

    async def ready(self) -> bool:
        """Whether traffic may come."""
        return self._repository.pool.is_ready

    async def get_model(self, name: str) -> BotModel:
        """The bot; loading an absent one is left to the request."""
        return self._repository.get_model(name)
