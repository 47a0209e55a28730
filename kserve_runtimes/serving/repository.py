"""The pool as KServe's SDK sees it: a repository of models, and a data plane over it.

What the SDK keeps doing (gRPC, `/metrics`, its own endpoints) goes through these; they hold no state of their own. An
entry appears in the repository when the routing table gives the bot to this pool, whether it is loaded or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

from botshard import __version__
from botshard.oip import headers
from botshard.oip.errors import InvalidInputError
from botshard.oip.metadata import EXTENSIONS
from botshard.oip.rest import InferenceRequest, fit_inputs
from botshard.oip.tensors import Tensor, tensor_from_binary, tensor_from_json, tensor_to_binary
from botshard.sharding.errors import CallerError
from botshard.sharding.ids import BotId, Epoch
from kserve_runtimes.core.asked import Call, Times
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.errors import DeadlineExceededError
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.serving import models
from kserve_runtimes.serving.sdk import (
    DataPlane,
    InferenceVerb,
    InferOutput,
    InferRequest,
    InferResponse,
    InvalidInput,
    Model,
    ModelRepository,
)

__all__ = ["BotDataPlane", "BotModel", "BotRepository"]


class BotRepository(ModelRepository):  # type: ignore[misc]
    """The bots of one pool. Made before the pool (in the zygote) and bound to it later."""

    def __init__(self) -> None:
        super().__init__(models_dir="/nonexistent")
        self._inference: Inference | None = None

    def bind(self, inference: Inference, /) -> None:
        """Serve its pool from now on."""
        self._inference = inference

    @property
    def inference(self) -> Inference:
        """The way to the pool; there is one as soon as anything can ask."""
        if self._inference is None:
            raise CallerError("the repository was asked before it was bound to a pool")
        return self._inference

    @property
    def pool(self) -> Pool:
        """The pool."""
        return self.inference.pool

    def get_model(self, name: str) -> BotModel:
        """The bot as a model. Whether it exists is found out when it is used: the catalog may have to be asked."""
        return BotModel(name, self.inference)

    def get_models(self) -> dict[str, BotModel]:
        """Every bot of the pool."""
        if self._inference is None:
            return {}
        return {entry.id: BotModel(entry.id, self._inference) for entry in self.pool.residents}

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

    def __init__(self, name: str, inference: Inference) -> None:
        super().__init__(name)
        self._inference = inference
        entry = inference.pool.residents.get(BotId(name))
        self.ready = entry is not None and entry.slot is not None

    def load(self) -> bool:
        """Nothing: the SDK calls this on its event loop, and the bot is loaded by the request that follows."""
        return self.ready

    async def __call__(
        self,
        body: Any,
        headers: Mapping[str, str] | None = None,
        verb: Any = InferenceVerb.PREDICT,
    ) -> tuple[Any, dict[str, str]]:
        """Answer an `InferRequest`. Takes the place of the SDK's steps, whose metrics have a label for each model."""
        if verb != InferenceVerb.PREDICT:
            raise NotImplementedError("bots have no explainer")
        if not isinstance(body, InferRequest):
            raise InvalidInput("expected an inference request of the Open Inference Protocol")
        bot, outputs = await self._predict(body, headers or {})
        version = str(bot.version.number)
        as_raw = body.use_binary_outputs
        response = InferResponse(
            response_id=body.id or "",
            model_name=bot.id,
            model_version=version,
            infer_outputs=[_infer_output(tensor, as_raw=as_raw) for tensor in outputs],
            raw_outputs=[tensor_to_binary(tensor) for tensor in outputs] if as_raw else None,
            use_binary_outputs=as_raw,
        )
        return response, {"x-botshard-bot-version": version}

    async def _predict(self, request: Any, sent: Mapping[str, str]) -> tuple[LoadedBot, list[Tensor]]:
        pool = self._inference.pool
        call = Call(self.name, request.model_version or None, Epoch(int(_number(sent, headers.EPOCH) or 0)))
        timeout_s = pool.timeout_s(_number(sent, headers.REQUEST_TIMEOUT))
        asked = _SdkRequest(call, request, deadline_s=monotonic() + timeout_s)
        with pool.in_flight():
            task = self._inference.submit(asked)
            try:
                async with asyncio.timeout(timeout_s):
                    return await asked.done
            except (TimeoutError, DeadlineExceededError) as error:
                raise DeadlineExceededError(timeout_s) from error
            finally:
                asked.is_over = True
                if task is not None:
                    task.cancel()


class _SdkRequest:
    """A request of the SDK, as the stages see it."""

    is_small = False

    def __init__(self, call: Call, request: Any, *, deadline_s: float) -> None:
        self.call = call
        self.deadline_s = deadline_s
        self.is_over = False
        self.done: asyncio.Future[tuple[LoadedBot, list[Tensor]]] = asyncio.get_running_loop().create_future()
        self._request = request

    def decode(self, bot: LoadedBot, /) -> InferenceRequest:
        """The SDK's tensors as ours."""
        return InferenceRequest(fit_inputs([_tensor(item) for item in self._request.inputs], bot.spec.inputs))

    def encode(self, bot: LoadedBot, outputs: Mapping[str, Tensor], decoded: InferenceRequest, /) -> list[Tensor]:  # noqa: ARG002
        """The outputs that were asked for."""
        wanted = [output.name for output in self._request.request_outputs or ()]
        for name in wanted:
            if name not in outputs:
                raise InvalidInputError(name, f"is unknown; the outputs are {', '.join(outputs)}", kind="output")
        return [outputs[name] for name in wanted or outputs]

    def answered(self, encoded: Any, bot: LoadedBot, times: Times, /) -> None:  # noqa: ARG002
        """Tell who waits."""
        if not self.done.done():
            self.done.set_result((bot, encoded))

    def failed(self, error: Exception, /) -> None:
        """Tell who waits."""
        if not self.done.done():
            self.done.set_exception(error)


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


def _number(sent: Mapping[str, str], name: str) -> float | None:
    text = sent.get(name)
    try:
        return None if text is None else max(float(text), 0.0)
    except ValueError as error:
        raise InvalidInputError(None, f"metadata {name} must be a number of at least 0, found {text!r}") from error


def _tensor(item: Any) -> Tensor:
    """An input of the SDK, raw or typed, as ours."""
    name, datatype, shape = str(item.name), str(item.datatype), tuple(int(size) for size in item.shape)
    if any(size < 0 for size in shape):
        raise InvalidInputError(name, f"shape {list(shape)} has a negative size")
    raw = item._raw_data  # noqa: SLF001 - the SDK has no other way to the bytes than to decode and copy them
    if raw is not None:
        return tensor_from_binary(name, datatype, shape, memoryview(raw))
    data = list(item.data or ())
    if datatype == "BYTES":
        if len(data) != _count(shape):
            raise InvalidInputError(name, f"{len(data)} elements, but shape {list(shape)} takes {_count(shape)}")
        return Tensor(name, datatype, shape, data)
    return tensor_from_json(name, datatype, shape, data)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _infer_output(tensor: Tensor, *, as_raw: bool) -> Any:
    """An output of ours as the SDK's: without data where its bytes go along as raw contents."""
    data = None if as_raw else tensor.numpy().reshape(-1).tolist()
    return InferOutput(name=tensor.name, shape=list(tensor.shape), datatype=tensor.datatype, data=data)
