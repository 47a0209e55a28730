"""A client that asks for what is not there, again and again, does not fill the log."""

from __future__ import annotations

import asyncio
import logging

import pytest

from botshard.logs import fields
from router.refusals import RefusalLog
from tests.waiting import aeventually


async def test_the_first_are_told_one_by_one_and_the_rest_as_a_number(caplog: pytest.LogCaptureFixture) -> None:
    """Five hundred refusals in a moment make five lines and one sum, which counts every one that was not told."""
    caplog.set_level(logging.INFO)
    refusals = RefusalLog(logging.getLogger("flood"), loop=asyncio.get_running_loop(), most_per_s=5)
    for number in range(500):
        refusals.tell(logging.INFO, "request refused", fields(number=number), status=404 if number % 2 else 503)

    async def summed_up() -> bool:
        return any("more requests failed" in record.message for record in caplog.records)

    await aeventually(summed_up, within_s=5.0)
    assert [record.message for record in caplog.records] == ["request refused"] * 5 + [
        "more requests failed than are told one by one"
    ]
    assert caplog.records[-1].__dict__["botshard_fields"] == {"requests": 495, "by_status": "404:248 503:247"}


async def test_a_second_later_they_are_told_again(caplog: pytest.LogCaptureFixture) -> None:
    """The bound is one of a second, not of a life."""
    caplog.set_level(logging.INFO)
    refusals = RefusalLog(logging.getLogger("flood"), loop=asyncio.get_running_loop(), most_per_s=1)
    refusals.tell(logging.INFO, "request refused", fields(number=1), status=404)

    async def told_twice() -> bool:
        refusals.tell(logging.INFO, "request refused", fields(number=2), status=404)
        return sum(record.message == "request refused" for record in caplog.records) == 2

    await aeventually(told_twice, within_s=5.0)
