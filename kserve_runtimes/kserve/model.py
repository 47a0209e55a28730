"""A `kserve.Model` as the core sees a model: arrays in, arrays out, errors of ours.

KServe runs a model's `preprocess`, `predict` and `postprocess` on one event loop, one call after the other where they
do not await. So here: a model that is not asynchronous runs on the thread that asks, under a lock of its own; one that
is runs on a loop that all such models share.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from fastapi import HTTPException

from botshard.logs import fields
from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Array
from botshard.sharding.catalog import BotSpec, TensorSpec
from kserve_runtimes.core.errors import ModelNotReadyError
from kserve_runtimes.kserve.payloads import outputs_of, request_of
from kserve_runtimes.serving.sdk import InvalidInput, Model, ModelNotReady, ServerNotReady

__all__ = ["ModelLoop", "OwnModel"]

log = logging.getLogger(__name__)


class ModelLoop:
    """The event loop of all asynchronous models, on a thread that is started by the first and ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, call: Coroutine[Any, Any, Any], /) -> Any:
        """The result of `call`. Blocks."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="own models", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


class OwnModel:
    """One object of the image's class."""

    together = None

    def __init__(
        self,
        model: Any,
        spec: BotSpec,
        inputs: Sequence[TensorSpec],
        *,
        loop: ModelLoop,
        footprint_bytes: int,
        end: Callable[[], None],
    ) -> None:
        self._model = model
        self._id = spec.id
        self._datatypes = {tensor.name: tensor.datatype for tensor in inputs}
        self._payload = str(spec.model.get("payload", "v2"))
        self._loop = loop if _is_async(type(model)) else None
        self._one = threading.Lock()
        self.footprint_bytes = footprint_bytes
        weakref.finalize(self, _end, model, end)

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """What the class answers, as outputs by name; see `kserve_runtimes.core.model.Model`.

        Raises: InvalidInputError for `kserve.errors.InvalidInput` and an HTTPException of 4xx; ModelNotReadyError.
        """
        if not self._model.ready:
            raise ModelNotReadyError(self._id, "its model says that it is not ready")
        request = request_of(self._id, inputs, self._datatypes, payload=self._payload)
        call = self._model(request, headers={})
        try:
            if self._loop is not None:
                answer = self._loop.run(call)
            else:
                with self._one:
                    answer = _finish(call)
        except InvalidInput as error:
            raise InvalidInputError(None, str(error)) from error
        except HTTPException as error:
            if not 400 <= error.status_code < 500:
                raise
            raise InvalidInputError(None, str(error.detail)) from error
        except (ModelNotReady, ServerNotReady) as error:
            raise ModelNotReadyError(self._id, str(error)) from error
        return outputs_of(answer)


def _is_async(own_class: type[Any]) -> bool:
    """Whether any of what a request runs through may await: KServe's own methods are coroutines that do not."""
    names = ("__call__", "preprocess", "predict", "postprocess")
    methods = [getattr(own_class, name) for name in names]
    return any(
        inspect.iscoroutinefunction(method) and method is not getattr(Model, name)
        for name, method in zip(names, methods, strict=True)
    )


def _finish(call: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that does not await anything that is not there."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    finally:
        call.close()
    raise TypeError("a method that is no coroutine function returned something to wait for")


def _end(model: Any, end: Callable[[], None]) -> None:
    """The model leaves memory: it is told, and its files go."""
    try:
        model.stop()
    except Exception as error:  # noqa: BLE001 - its own business; others go on
        log.warning("a model failed to stop", extra=fields(model=type(model).__name__, problem=str(error)))
    end()
