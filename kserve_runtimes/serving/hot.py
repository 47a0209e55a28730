"""The requests that every answer waits for: inference and health, straight from the connection.

No framework, no task and no thread where none is needed: a small request to a quick bot is parsed, run and written in
one turn of the event loop (`turns.py`). What differs from that (a bot that is absent or slow, a large body) is a task
and a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import ClassVar, Final
from urllib.parse import unquote

import httptools

from botshard.http1.answers import Answer, line
from botshard.http1.hot import HotRequest
from botshard.oip import headers
from botshard.oip.content import decompress
from botshard.oip.rest import EncodedBody, InferenceRequest, decode_request, encode_response, parse_header_length
from botshard.oip.tensors import Tensor
from botshard.oip.v1 import decode_v1, encode_v1
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.errors import DeadlineExceededError
from kserve_runtimes.core.inference import Inference, Stopwatch, Took
from kserve_runtimes.core.pool import Call, Pool
from kserve_runtimes.serving import models
from kserve_runtimes.serving.messages import Answer as PlainAnswer
from kserve_runtimes.serving.messages import (
    Fields,
    epoch_of,
    error_answer,
    field_text,
    json_answer,
    timeout_of,
    wrong_method_answer,
)
from kserve_runtimes.serving.problems import problem_of
from kserve_runtimes.serving.turns import Turns

__all__ = ["PoolFront"]

_SMALL_BYTES: Final = 16 << 10
"""Bodies up to this are parsed on the loop, which takes less time than a thread's turn."""
_REQUEST_ID: Final = headers.REQUEST_ID.encode()
_ENCODING: Final = b"content-encoding"
_HEADER_LENGTH: Final = headers.INFERENCE_HEADER_LENGTH.encode()
_JSON_VERSION: Final = b"content-type: application/json\r\nx-botshard-bot-version: %d\r\n%b"
_BINARY_VERSION: Final = (
    b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\nx-botshard-bot-version: %d\r\n%b"
)


class PoolFront:
    """Recognises hot requests, and writes the headers that every answer of this pool has."""

    def __init__(self, pool: Pool, *, max_body_bytes: int) -> None:
        self.pool = pool
        self.inference = Inference(pool)
        self.turns = Turns(self.inference)
        self.max_body_bytes = max_body_bytes
        self._pool_line = line(headers.POOL.encode(), pool.name.encode())
        self._common = (-1, b"")

    def recognise(self, method: bytes, target: bytes, /) -> HotRequest | None:  # noqa: PLR0911 - one return a route
        """See `botshard.http1.hot.Recognise`."""
        if target[:1] != b"/" or b"%" in target or b"?" in target:
            try:
                target = unquote(httptools.parse_url(target).path or b"").encode()
            except httptools.HttpParserInvalidURLError:
                return None
        try:
            parts = target.decode().split("/")
        except UnicodeDecodeError:
            return None
        match parts:
            case ["", "v2", "models", bot, "infer"]:
                return _Infer(self, method, bot, None)
            case ["", "v2", "models", bot, "versions", version, "infer"]:
                return _Infer(self, method, bot, version)
            case ["", "v2", "health", "live"]:
                return _Health(self, method, lambda: json_answer({"live": True}))
            case ["", "v2", "health", "ready"] | ["", "pool", "ready"]:
                return _Health(self, method, lambda: models.pool_ready(self.pool))
            case ["", "v1", "models", name] if name.endswith(":predict"):
                return _PredictV1(self, method, name.removesuffix(":predict"), None)
            case _:
                return None

    def refuse(self, status: int, text: str, fields: Fields, /) -> Answer:
        """See `botshard.http1.exchange.Refuse`."""
        return self.answer(json_answer({"error": text}, status=status), fields)

    def answer(self, plain: PlainAnswer, fields: Fields, /) -> Answer:
        """An answer that is counted, with the headers that all have."""
        self.pool.metrics.count_rest(plain.status)
        lines = b"".join([line(name, value) for name, value in plain.headers])
        return Answer(plain.status, lines + self.common_lines(fields), plain.body)

    def common_lines(self, fields: Fields, /) -> bytes:
        """The pool, its epoch, and the id of the request."""
        epoch = self.pool.epoch
        if self._common[0] != epoch:
            self._common = (epoch, b"%bx-botshard-epoch: %d\r\n" % (self._pool_line, epoch))
        request_id = fields.get(_REQUEST_ID)
        return self._common[1] if request_id is None else self._common[1] + line(_REQUEST_ID, request_id)


class _PoolRequest(HotRequest):
    """What inference and health share."""

    __slots__ = ("_front",)
    methods: ClassVar[tuple[bytes, ...]]

    def __init__(self, front: PoolFront, method: bytes) -> None:
        super().__init__()
        self._front = front
        self.method = method

    def failed(self, error: Exception, /) -> Answer:
        """Every error has its place in the table of problems."""
        return self._front.answer(error_answer(problem_of(error)), self.fields)

    def expired(self) -> Answer:
        """Health has no deadline."""
        return self.failed(TimeoutError())

    def _wrong_method(self) -> Answer:
        allowed = tuple(method.decode() for method in self.methods)
        plain = wrong_method_answer(self.method.decode(), self.target.decode(), allowed=allowed)
        return self._front.answer(plain, self.fields)


class _Health(_PoolRequest):
    """Whether the loop turns; whether traffic may come."""

    __slots__ = ("_ask",)
    methods = (b"GET", b"HEAD")

    def __init__(self, front: PoolFront, method: bytes, ask: Callable[[], PlainAnswer]) -> None:
        super().__init__(front, method)
        self._ask = ask

    def run(self) -> Answer | None:
        """Ask."""
        if self.method not in self.methods:
            return self._wrong_method()
        return self._front.answer(self._ask(), self.fields)


class _Infer(_PoolRequest):
    """`POST /v2/models/{bot}/infer`."""

    __slots__ = ("_bot_id", "_header_length", "_problem", "_timeout_s", "_version")
    methods = (b"POST",)

    def __init__(self, front: PoolFront, method: bytes, bot_id: str, version: str | None) -> None:
        super().__init__(front, method)
        self._bot_id = bot_id
        self._version = version
        self._header_length: int | None = None
        self._timeout_s = 0.0
        self._problem: Exception | None = None

    def begin(self) -> None:
        """From here on the request is in flight, and its deadline runs."""
        pool = self._front.pool
        pool.begin_request()
        asked_s = None
        try:
            asked_s = timeout_of(self.fields)
        except Exception as problem:  # noqa: BLE001 - told once the body is here
            self._problem = problem
        self._timeout_s = pool.timeout_s(asked_s)
        self.deadline_s = monotonic() + self._timeout_s

    def over(self) -> None:
        """No longer in flight."""
        self._front.pool.end_request()

    def expired(self) -> Answer:
        """504."""
        return self.failed(DeadlineExceededError(self._timeout_s))

    def run(self) -> Answer | None:
        """Here and now if the request is small and the bot quick; else on a model's thread."""
        if self.method != b"POST":
            return self._wrong_method()
        if self._problem is not None:
            raise self._problem
        if monotonic() > self.deadline_s:
            raise DeadlineExceededError(self._timeout_s)
        fields = self.fields
        call = Call(self._bot_id, self._version, epoch_of(fields))
        self._header_length = parse_header_length(field_text(fields, _HEADER_LENGTH))
        slot = None
        if len(self.body) <= _SMALL_BYTES and _ENCODING not in fields:
            slot = self._front.inference.pin_quick(call)
        if slot is None:
            self.run_as_task(self._run_in_thread(call))
        else:
            self._front.turns.add(self, slot)
        return None

    async def _run_in_thread(self, call: Call) -> Answer:
        """Inflating, parsing and writing are done where the model runs: what is large must not hold up the loop."""
        inference, limit_bytes = self._front.inference, self._front.max_body_bytes
        encoding = field_text(self.fields, _ENCODING)
        is_small = encoding is None and len(self.body) <= _SMALL_BYTES

        def job(bot: LoadedBot) -> tuple[EncodedBody, Took]:
            if self.is_over:
                raise DeadlineExceededError(self._timeout_s)  # nobody waits for it any more
            watch = Stopwatch()
            self.body = decompress(self.body, encoding, limit_bytes)
            decoded = self.decode(bot)
            encoded = self._encode(bot, bot.predict(decoded.inputs), decoded)
            return encoded, watch.took()

        try:
            bot, (encoded, took) = await self._front.pool.run(call, job, deadline_s=self.deadline_s)
        except DeadlineExceededError as error:
            raise DeadlineExceededError(self._timeout_s) from error
        if is_small:
            inference.note(bot, took)
        return self._answer_of(bot, encoded)

    def decode(self, bot: LoadedBot, /) -> InferenceRequest:
        """The body as inputs."""
        spec = bot.spec
        return decode_request(self.body, inputs=spec.inputs, outputs=spec.outputs, header_length=self._header_length)

    def encode(self, bot: LoadedBot, outputs: Mapping[str, Tensor], decoded: InferenceRequest, /) -> Answer:
        """The answer."""
        return self._answer_of(bot, self._encode(bot, outputs, decoded))

    def _encode(self, bot: LoadedBot, outputs: Mapping[str, Tensor], decoded: InferenceRequest) -> EncodedBody:
        return encode_response(outputs, model_name=bot.id, model_version=str(bot.version.number), request=decoded)

    def _answer_of(self, bot: LoadedBot, encoded: EncodedBody) -> Answer:
        front = self._front
        front.pool.metrics.count_rest(200)
        common, version = front.common_lines(self.fields), bot.version.number
        if encoded.header_length is None:
            return Answer(200, _JSON_VERSION % (version, common), encoded.body)
        return Answer(200, _BINARY_VERSION % (encoded.header_length, version, common), encoded.body)


class _PredictV1(_Infer):
    """`POST /v1/models/{bot}:predict`."""

    __slots__ = ()

    def decode(self, bot: LoadedBot, /) -> InferenceRequest:
        """The instances as inputs."""
        return decode_v1(self.body, inputs=bot.spec.inputs)

    def _encode(self, bot: LoadedBot, outputs: Mapping[str, Tensor], decoded: InferenceRequest) -> EncodedBody:  # noqa: ARG002 - V2's
        return EncodedBody(encode_v1(outputs), None)
