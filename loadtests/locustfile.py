"""Users for Locust's own command line and web page: people who ask, think, and ask again.

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8080 --bots 2000 --users 300 --spawn-rate 20

A closed loop, for trying out: a system that slows down is asked less. `python -m loadtests run` asks whether or not
answers come. The bots are those that `python -m loadtests publish` has put there.
"""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Any, ClassVar

from locust import FastHttpUser, User, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtests.asking.orders import Asked
from loadtests.asking.users import ask_rest, ask_rpc, rpc_channel
from loadtests.fleet import QUESTION, make_fleet
from loadtests.traffic.popularity import POPULARITIES
from loadtests.traffic.timetable import usual_of

__all__ = ["RestPerson", "RpcPerson"]

_PATIENCE_S = 30.0


class _Choosing:
    """Which bot is asked next: by popularity, from one list that all users share."""

    bots: ClassVar[list[Asked]] = []
    _sums: ClassVar[list[float]] = []

    @classmethod
    def set_up(cls, environment: Environment) -> None:
        """Once, by what the command line says."""
        options = environment.parsed_options
        if cls.bots or options is None:
            return
        fleet = make_fleet(options.bots, tenants=20, realtime_share=0.5, seed=options.seed)
        cls.bots.extend(Asked(bot.id, [bot.answer(version) for version in (1, 2)]) for bot in fleet.bots)
        cls._sums.extend(accumulate(usual_of(POPULARITIES[options.popularity](options.bots), options.seed)))

    @classmethod
    def next(cls) -> Asked:
        """One of them."""
        return random.choices(cls.bots, cum_weights=cls._sums)[0]  # noqa: S311 - traffic, no secret


class RestPerson(FastHttpUser):
    """Asks over REST."""

    wait_time = between(0.5, 2.0)
    network_timeout = _PATIENCE_S
    insecure = False

    def on_start(self) -> None:
        """Know the bots."""
        _Choosing.set_up(self.environment)

    @task
    def ask(self) -> None:
        """One bot."""
        ask_rest(self.client, _Choosing.next(), QUESTION.encode(), _note)


class RpcPerson(User):
    """Asks over gRPC; there are none without `--grpc`."""

    wait_time = between(0.5, 2.0)

    def on_start(self) -> None:
        """Know the bots, and have a channel."""
        _Choosing.set_up(self.environment)
        options = self.environment.parsed_options
        self._channel: Any = rpc_channel(options.grpc if options is not None else "")

    @task
    def ask(self) -> None:
        """One bot."""
        ask_rpc(self, self._channel, _Choosing.next(), QUESTION, _note, patience_s=_PATIENCE_S)


def _note(cause: str, cold: int, version: int) -> None:
    """Locust counts by itself."""


def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--bots", type=int, default=2_000, help="how many bots there are")
    parser.add_argument("--popularity", choices=sorted(POPULARITIES), default="zipf", help="how they are asked")
    parser.add_argument("--seed", type=int, default=1, help="that they were published with")
    parser.add_argument("--grpc", default="", help="host:port that speaks the protocol over gRPC")


def _leave_out(environment: Environment, **_: object) -> None:
    """Without an address nobody asks over gRPC."""
    options = environment.parsed_options
    if options is not None and not options.grpc:
        RpcPerson.weight = 0
        environment.user_classes = [kind for kind in environment.user_classes if kind is not RpcPerson]


events.init_command_line_parser.add_listener(_add_options)  # type: ignore[no-untyped-call]
events.init.add_listener(_leave_out)  # type: ignore[no-untyped-call]
