"""The requests that every answer waits for: inference and health, straight from the connection.

No framework, no task and no thread where none is needed: a small request to a quick bot is parsed, run and written in
one turn of the event loop (`kserve_runtimes/core/inference.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic, perf_counter
from typing import ClassVar, Final
from urllib.parse import unquote

import httptools

from botshard.http1.answers import Answer, line
from botshard.http1.hot import HotRequest
from botshard.oip import headers
from botshard.oip.content import decompress
from botshard.oip.rest import EncodedBody, InferenceRequest, parse_header_length
from botshard.oip.tensors import Tensor
from botshard.oip.v1 import decode_v1, encode_v1
from kserve_runtimes.core.asked import SMALL_BYTES, Call, Times
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.errors import DeadlineExceededError
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.serving import models
from kserve_runtimes.serving.infer_messages import decode_message, encode_message
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
from kserve_runtimes.serving.timing import cold_timing_line, timing_line

__all__ = ["PoolFront"]

_MOST_TARGETS: Final = 4096
_LONGEST_TARGET: Final = 256
"""Bounds on what is remembered, so that targets which strangers make up cannot fill memory."""
_YOUNG_S: Final = 60.0
"""For so long a request may have been sent before this replica listened."""
_REQUEST_ID: Final = headers.REQUEST_ID.encode()
_ENCODING: Final = b"content-encoding"
_CONTENT_TYPE: Final = b"content-type"
_MESSAGE: Final = headers.MESSAGE.encode()
_HEADER_LENGTH: Final = headers.INFERENCE_HEADER_LENGTH.encode()
_JSON_VERSION: Final = b"content-type: application/json\r\nx-botshard-bot-version: %d\r\n%b"
_MESSAGE_VERSION: Final = b"content-type: application/protobuf\r\nx-botshard-bot-version: %d\r\n%b"
_BINARY_VERSION: Final = (
    b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\nx-botshard-bot-version: %d\r\n%b"
)


class PoolFront:
    """Recognises hot requests, and writes the headers that every answer of this pool has."""

    def __init__(self, inference: Inference, *, max_body_bytes: int, tells_times: bool = True) -> None:
        """`tells_times`: answers of inference have `Server-Timing`."""
        self.inference = inference
        self.tells_times = tells_times
        self.pool = pool = inference.pool
        self.max_body_bytes = max_body_bytes
        self._pool_line = line(headers.POOL.encode(), pool.name.encode())
        self._common = (-1, b"")
        self._up_since_s = perf_counter()
        self._is_young = True
        self._makers: dict[bytes, Callable[[bytes], HotRequest]] = {}
        """By target: what was asked before is found without taking the target apart."""

    def recognise(self, method: bytes, target: bytes, /) -> HotRequest | None:
        """See `botshard.http1.hot.Recognise`."""
        make = self._makers.get(target)
        if make is None:
            make = self._maker_of(target)
            if make is None:
                return None
            if len(target) <= _LONGEST_TARGET:
                if len(self._makers) >= _MOST_TARGETS:
                    self._makers.clear()
                self._makers[target] = make
        return make(method)

    def _maker_of(self, target: bytes) -> Callable[[bytes], HotRequest] | None:  # noqa: PLR0911 - one return a route
        """What makes the request for a target; None: it is not hot."""
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
                return lambda method: _Infer(self, method, bot, None)
            case ["", "v2", "models", bot, "versions", version, "infer"]:
                return lambda method: _Infer(self, method, bot, version)
            case ["", "v2", "health", "live"]:
                return lambda method: _Health(self, method, lambda: json_answer({"live": True}))
            case ["", "v2", "health", "ready"] | ["", "pool", "ready"]:
                return lambda method: _Health(self, method, lambda: models.pool_ready(self.pool))
            case ["", "v1", "models", name] if name.endswith(":predict"):
                return lambda method: _PredictV1(self, method, name.removesuffix(":predict"), None)
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

    def lines_of(self, times: Times, fields: Fields, /) -> bytes:
        """Those that all answers have, and where the time of this one went if that is told."""
        common = self.common_lines(fields)
        if not self.tells_times:
            return common
        if self._is_young:
            self._is_young = perf_counter() - self._up_since_s < _YOUNG_S
        elif not times.load_s:
            return timing_line(times, common)
        return cold_timing_line(times, common, up_since_s=self._up_since_s)

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

    def answer_to(self, error: Exception, /) -> Answer:
        """Every error has its place in the table of problems."""
        return self._front.answer(error_answer(problem_of(error)), self.fields)

    def expired(self) -> Answer:
        """Health has no deadline."""
        return self.answer_to(TimeoutError())

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
    """`POST /v2/models/{bot}/infer`. It is an `Asked`."""

    __slots__ = (
        "_bot_id",
        "_encoding",
        "_header_length",
        "_is_message",
        "_problem",
        "_timeout_s",
        "_version",
        "call",
        "is_small",
    )
    methods = (b"POST",)

    def __init__(self, front: PoolFront, method: bytes, bot_id: str, version: str | None) -> None:
        super().__init__(front, method)
        self._bot_id = bot_id
        self._version = version
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
        return self.answer_to(DeadlineExceededError(self._timeout_s))

    def run(self) -> Answer | None:
        """Hand it to the stages."""
        if self.method != b"POST":
            return self._wrong_method()
        if self._problem is not None:
            raise self._problem
        fields = self.fields
        self.call = Call(self._bot_id, self._version, epoch_of(fields))
        self._header_length = parse_header_length(field_text(fields, _HEADER_LENGTH))
        self._encoding = field_text(fields, _ENCODING)
        self._is_message = fields.get(_CONTENT_TYPE) == _MESSAGE
        self.is_small = len(self.body) <= SMALL_BYTES and self._encoding is None
        self.cancel_with(self._front.inference.submit(self))
        return None

    # ── what the stages call ──────────────────────────────────────────────────────────────────────────────────────────

    def decode(self, bot: LoadedBot, /) -> InferenceRequest:
        """The body as inputs."""
        self._inflate()
        if self._is_message:
            return decode_message(self.body, bot)
        return bot.codec.decode(self.body, self._header_length)

    def encode(self, bot: LoadedBot, outputs: Mapping[str, Tensor], decoded: InferenceRequest, /) -> EncodedBody:
        """The answer's body."""
        if self._is_message:
            return EncodedBody(encode_message(outputs, bot, decoded), None)
        return bot.codec.encode(outputs, decoded)

    def answered(self, encoded: object, bot: LoadedBot, times: Times, /) -> None:
        """Send it."""
        if self.is_over:
            return
        assert isinstance(encoded, EncodedBody)  # noqa: S101 - what `encode` gave
        front = self._front
        front.pool.metrics.count_rest(200)
        common, version = front.lines_of(times, self.fields), bot.version.number
        body, header_length = encoded
        if header_length is None:
            known = _MESSAGE_VERSION if self._is_message else _JSON_VERSION
            self.answer(Answer(200, known % (version, common), body))
        else:
            self.answer(Answer(200, _BINARY_VERSION % (header_length, version, common), body))

    def failed(self, error: Exception, /) -> None:
        """Send what the error is to a client."""
        if self.is_over:
            return
        if isinstance(error, DeadlineExceededError):
            error = DeadlineExceededError(self._timeout_s)
        self.answer(self.answer_to(error))

    def _inflate(self) -> None:
        if self._encoding is not None:
            self.body = decompress(self.body, self._encoding, self._front.max_body_bytes)


class _PredictV1(_Infer):
    """`POST /v1/models/{bot}:predict`."""

    __slots__ = ()

    def decode(self, bot: LoadedBot, /) -> InferenceRequest:
        """The instances as inputs."""
        self._inflate()
        return decode_v1(self.body, inputs=bot.spec.inputs)

    def encode(self, bot: LoadedBot, outputs: Mapping[str, Tensor], decoded: InferenceRequest, /) -> EncodedBody:  # noqa: ARG002 - V2's
        """The predictions."""
        return EncodedBody(encode_v1(outputs), None)
