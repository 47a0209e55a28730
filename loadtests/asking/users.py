"""Locust's users that follow a timetable, over REST and over gRPC, and what they have in common.

A user takes the next request that is due, waits until then, asks, and takes the next. All users of a protocol share
the timetable, so however slow answers are, the others go on: an open loop up to the number of users. What is due while
all of them wait is asked late, and its latency counts from when it was due; so nothing is left out of it.

Importing this module patches the standard library for gevent: only the asking process does.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any, ClassVar, TypeAlias

import gevent
import grpc
import grpc.experimental.gevent as grpc_gevent
import numpy as np
import orjson
from gevent.event import Event
from locust import FastHttpUser, User, task
from locust.contrib.fasthttp import FastHttpSession
from locust.exception import StopUser

from botshard.oip.grpc_schema import SERVICE, message_class
from loadtests.asking.exchanges import UNKNOWN, Exchange, cause_of_answer, is_cold, version_of
from loadtests.asking.orders import Asked, Orders
from loadtests.traffic.timetable import GRPC, REST, Arrival

__all__ = ["Course", "GrpcUser", "Note", "RestUser", "ask_rest", "ask_rpc", "rpc_channel"]

Note: TypeAlias = Callable[[str, int, int], float | None]
"""Told the cause of a failure, whether it was cold, and the version that answered; milliseconds that it took, if they
count from another moment than that of sending."""

grpc_gevent.init_gevent()

_WRONG = "an answer of other weights"
_METHOD = f"/{SERVICE}/ModelInfer"
_CHANNELS = 8
_CHANNEL_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))


class Course:
    """A timetable that is being followed."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.body = orders.question.encode()
        self.exchanges: list[Exchange] = []
        """Taken out by whoever writes them down."""
        self.began_s = 0.0
        self.is_over = False
        self._begun = Event()
        arrivals = orders.timetable.arrivals
        self._due = {name: deque(one for one in arrivals if one.protocol == name) for name in (REST, GRPC)}

    def begin(self) -> None:
        """Now is the timetable's beginning."""
        self.began_s = time.monotonic()
        self._begun.set()

    def stop(self) -> None:
        """Nothing more is due."""
        self.is_over = True
        for due in self._due.values():
            due.clear()

    def next(self, protocol: str) -> Arrival:
        """The next request, once it is due. Raises: StopUser where there is none."""
        self._begun.wait()
        due = self._due[protocol]
        if not due:
            raise StopUser
        arrival = due.popleft()
        gevent.sleep(max(0.0, self.began_s + arrival.at_s - time.monotonic()))
        if self.is_over:
            raise StopUser
        return arrival

    def note(self, arrival: Arrival, sent_s: float, cause: str, cold: int, version: int) -> float:
        """Write an exchange down; milliseconds that it took."""
        due_s = self.began_s + arrival.at_s
        took_s = time.monotonic() - due_s
        self.exchanges.append(
            Exchange(
                round(arrival.at_s, 6),
                round(max(0.0, sent_s - due_s), 6),
                round(took_s, 6),
                arrival.bot,
                arrival.phase,
                arrival.protocol,
                cause,
                cold,
                version,
            )
        )
        return took_s * 1e3


class RestUser(FastHttpUser):
    """Follows a timetable over REST."""

    course: ClassVar[Course]
    abstract = True
    insecure = False  # Locust's default would give keys to anybody who answers

    @task
    def follow(self) -> None:
        """One request of the timetable."""
        course = self.course
        arrival = course.next(REST)
        sent_s = time.monotonic()
        ask_rest(self.client, course.orders.bots[arrival.bot], course.body, partial(course.note, arrival, sent_s))


class GrpcUser(User):
    """Follows a timetable over gRPC, over one of a few channels that all such users share."""

    course: ClassVar[Course]
    abstract = True
    _channels: ClassVar[list[Any]] = []
    _numbers = count()

    def on_start(self) -> None:
        """Take a channel."""
        if not self._channels:
            self._channels.extend(rpc_channel(self.course.orders.grpc) for _ in range(_CHANNELS))
        self._channel = self._channels[next(self._numbers) % _CHANNELS]

    @task
    def follow(self) -> None:
        """One request of the timetable."""
        course, orders = self.course, self.course.orders
        arrival = course.next(GRPC)
        bot, sent_s = orders.bots[arrival.bot], time.monotonic()
        note = partial(course.note, arrival, sent_s)
        ask_rpc(self, self._channel, bot, orders.question, note, patience_s=orders.patience_s)


def ask_rest(client: FastHttpSession, bot: Asked, body: bytes, note: Note) -> None:
    """One request over REST, told to `note` and to Locust."""
    with client.post(
        bot.path,
        data=body,  # type: ignore[arg-type]
        headers={"content-type": "application/json", **bot.headers},
        name="infer",
        catch_response=True,
    ) as response:
        cause, version = _judge_rest(response, bot)
        timing = (response.headers or {}).get("server-timing") or ""
        took_ms = note(cause, is_cold(timing), version)
        if took_ms is not None:
            response.request_meta["response_time"] = took_ms
        if cause:
            response.failure(cause)
        else:
            response.success()


def ask_rpc(user: User, channel: Any, bot: Asked, question: str, note: Note, *, patience_s: float) -> None:
    """One request over gRPC, told to `note` and to Locust."""
    message = rpc_question(bot.id, question)
    cold, began_s = UNKNOWN, time.perf_counter()
    try:
        body, call = channel.unary_unary(_METHOD).with_call(
            message, timeout=patience_s, metadata=tuple(bot.headers.items())
        )
    except grpc.RpcError as error:
        body, version = b"", UNKNOWN
        cause = cause_of_answer(error.code().name, error.details() or "", bot.id)
    else:
        cold = is_cold(_metadata(call.trailing_metadata(), "server-timing"))
        version = _version_of_rpc(body, bot)
        cause = "" if version > 0 else _WRONG
    took_ms = note(cause, cold, version)
    user.environment.events.request.fire(
        request_type="gRPC",
        name="ModelInfer",
        response_time=(time.perf_counter() - began_s) * 1e3 if took_ms is None else took_ms,
        response_length=len(body),
        exception=RuntimeError(cause) if cause else None,
        context={},
    )


def rpc_channel(address: str) -> Any:
    """A connection of its own, that tries nothing again; over TLS to `https://host:port`."""
    scheme, _, rest = address.rpartition("://")
    if scheme == "https":
        return grpc.secure_channel(rest, grpc.ssl_channel_credentials(), _CHANNEL_OPTIONS)
    return grpc.insecure_channel(rest, _CHANNEL_OPTIONS)


def rpc_question(bot: str, question: str) -> bytes:
    """The same question as a `ModelInferRequest` with its numbers as raw bytes."""
    (tensor,) = orjson.loads(question)["inputs"]
    request = message_class("ModelInferRequest")(model_name=bot)
    request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
    request.raw_input_contents.append(np.array(tensor["data"], "<f4").tobytes())
    message: bytes = request.SerializeToString()
    return message


def _judge_rest(response: Any, bot: Asked) -> tuple[str, int]:
    """What is wrong with an answer, and which version gave it."""
    status = response.status_code
    if not status:
        return _cause_of_error(response.error), UNKNOWN
    content = response.content or b""
    if status != 200:
        try:
            reason = str(orjson.loads(content)["error"])
        except (ValueError, KeyError, TypeError):
            reason = ""
        return cause_of_answer(status, reason, bot.id), UNKNOWN
    try:
        version = version_of(orjson.loads(content)["outputs"][0]["data"], bot.answers)
    except (ValueError, KeyError, IndexError, TypeError):
        return "200 without an answer of the protocol", UNKNOWN
    return ("", version) if version else (_WRONG, UNKNOWN)


def _cause_of_error(error: object) -> str:
    """One cause for all connections that fail alike."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return "no answer in time"
    return f"connection lost ({type(error).__name__})"


def _version_of_rpc(body: bytes, bot: Asked) -> int:
    response = message_class("ModelInferResponse").FromString(body)
    if response.raw_output_contents:
        return version_of(np.frombuffer(response.raw_output_contents[0], "<f4").tolist(), bot.answers) or UNKNOWN
    return version_of(response.outputs[0].contents.fp32_contents, bot.answers) or UNKNOWN


def _metadata(pairs: Iterable[tuple[str, str]] | None, name: str) -> str:
    return next((value for key, value in pairs or () if key == name), "")
