"""The asking process: `python -m loadtests.asking ORDERS`; follows the timetable, and on SIGTERM ends at once.

Locust is used as a library, without its web page: its users, its runner, its request events. What is asked, and when,
is in the timetable; what became of it goes to a file, a line an exchange, several times a second.
"""

from __future__ import annotations

# Before everything else: Locust patches the standard library for gevent.
from loadtests.asking.users import Course, GrpcUser, RestUser  # isort: skip

import gc
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

import gevent
from locust import User
from locust.env import Environment
from locust.runners import LocalRunner

from loadtests.asking.orders import Orders
from loadtests.traffic.timetable import GRPC, REST

_FLUSH_S = 0.2
_SPAWN_PER_S = 2_000.0


def main() -> int:
    """Ask; 0 where the timetable came to its end."""
    logging.getLogger("locust").setLevel(logging.ERROR)
    orders = Orders.read(Path(sys.argv[1]))
    course = Course(orders)
    gevent.signal_handler(signal.SIGTERM, course.stop)
    gevent.signal_handler(signal.SIGINT, course.stop)
    users = _users(course)
    environment = Environment(user_classes=users, host=orders.url)
    runner = environment.create_local_runner()
    runner.start(orders.users * len(users), spawn_rate=_SPAWN_PER_S)
    while runner.user_count < orders.users * len(users):
        gevent.sleep(_FLUSH_S / 10)
    gc.collect()
    gc.freeze()
    with orders.results.open("a") as results:
        _follow(course, runner, results)
    runner.quit()
    return 1 if course.is_over else 0


def _follow(course: Course, runner: LocalRunner, results: TextIO) -> None:
    course.begin()
    before_s = time.process_time()
    _say(results, {"began": course.began_s})
    over_s = course.began_s + course.orders.timetable.seconds
    while not course.is_over and (time.monotonic() < over_s or runner.user_count):
        gevent.sleep(_FLUSH_S)
        _write(course, results)
    if not course.is_over:
        _say(results, {"until": course.orders.timetable.seconds, "cpu": time.process_time() - before_s})


def _write(course: Course, results: TextIO) -> None:
    exchanges, course.exchanges = course.exchanges, []
    results.writelines(json.dumps(exchange) + "\n" for exchange in exchanges)
    results.flush()


def _say(results: TextIO, document: dict[str, float]) -> None:
    results.write(json.dumps(document) + "\n")
    results.flush()


def _users(course: Course) -> list[type[User]]:
    """A class for each protocol that the timetable asks over."""
    asked = {arrival.protocol for arrival in course.orders.timetable.arrivals}
    rest: type[User] = type("Rest", (RestUser,), {"course": course, "network_timeout": course.orders.patience_s})
    rpc: type[User] = type("Rpc", (GrpcUser,), {"course": course})
    return [kind for name, kind in ((REST, rest), (GRPC, rpc)) if name in asked]


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # gRPC's gevent loop would wait for its channels
