"""`python -m router` as a process: its settings, its socket, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from botshard.sharding.errors import InvalidDocumentError
from router.limits import Limits
from router.settings import VARIABLES, Settings
from tests.router.fleet import Fleet
from tests.router.processes import ROOT, Process, Processes
from tests.router.upstreams import Call, infer_answer, upstream
from tests.waiting import eventually


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """A starter of router processes."""
    found = Processes(tmp_path)
    yield found
    found.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_lets_requests_finish_and_ends_with_0(
    fleet: Fleet, processes: Processes, number: signal.Signals
) -> None:
    """Ready is told when it serves, stopping when it drains; what is in flight is answered."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def answer(call: Call) -> None:
        arrived.set()
        await release.wait()
        await call.write(infer_answer("bot"))

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            fd = listening.fileno()
            process = processes.start(
                fds=(fd,),
                port=listening.getsockname()[1],
                ROUTER_STORE_URL=fleet.url,
                ROUTER_LISTEN_FD=str(fd),
                ROUTER_LOG_FORMAT="json",
            )
            ready = await asyncio.to_thread(process.next_notice)
            async with httpx.AsyncClient(timeout=15.0) as client:
                asked = asyncio.create_task(client.post(f"{process.url}/v2/models/bot/infer", content=b"{}"))
                await asyncio.wait_for(arrived.wait(), 15.0)
                process.popen.send_signal(number)
                stopping = await asyncio.to_thread(process.next_notice)
                release.set()
                response = await asked
            log = await asyncio.to_thread(process.end)
    assert ready is not None
    assert ready.ready is True
    assert stopping is not None
    assert stopping.ready is False
    assert (response.status_code, process.popen.returncode) == (200, 0)
    assert '"event": "router stopped"' in log


async def test_the_next_router_takes_over_the_socket(fleet: Fleet, processes: Processes) -> None:
    """The listening socket is held by whoever started the router: a killed one loses no connection that waits."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            fd, port = listening.fileno(), listening.getsockname()[1]
            environ = {"ROUTER_STORE_URL": fleet.url, "ROUTER_LISTEN_FD": str(fd)}
            first = processes.start(fds=(fd,), port=port, **environ)
            await asyncio.to_thread(first.next_notice)
            first.popen.kill()
            first.popen.wait()
            async with httpx.AsyncClient(timeout=15.0) as client:
                asked = asyncio.create_task(client.post(f"{first.url}/v2/models/bot/infer", content=b"{}"))
                second = processes.start(fds=(fd,), port=port, **environ)
                response = await asked
            second.popen.terminate()
            await asyncio.to_thread(second.end)
    assert (response.status_code, second.popen.returncode) == (200, 0)


def test_the_end_of_the_stack_ends_the_router(fleet: Fleet, processes: Processes) -> None:
    """When the lifeline's other end is gone, so is the router, with 0."""
    mine, theirs = os.pipe()
    process = processes.start(fds=(mine,), ROUTER_STORE_URL=fleet.url, ROUTER_PORT="0", BOTSHARD_LIFELINE_FD=str(mine))
    os.close(mine)
    ready = process.next_notice()
    os.close(theirs)
    log = process.end()
    assert ready is not None
    assert ready.ready is True
    assert (process.popen.returncode, "stack gone" in log) == (0, True)


def test_a_port_in_use_is_said_and_is_1(fleet: Fleet, processes: Processes) -> None:
    """The line names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = processes.start(ROUTER_STORE_URL=fleet.url, ROUTER_PORT=str(port))
        log = process.end()
    assert process.popen.returncode == 1
    assert f"127.0.0.1:{port}" in log
    assert "Traceback" not in log


def test_a_router_without_a_store_yet_serves_and_is_not_ready(tmp_path: Path, processes: Processes) -> None:
    """It comes up before everything else, and says that it has nothing to route by."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fd = listening.fileno()
        process = processes.start(
            fds=(fd,),
            port=listening.getsockname()[1],
            ROUTER_STORE_URL=f"file://{tmp_path}/empty",
            ROUTER_LISTEN_FD=str(fd),
        )
        assert process.next_notice() is not None
        assert httpx.get(f"{process.url}/v2/health/live").status_code == 200
        assert httpx.get(f"{process.url}/v2/health/ready").status_code == 503
        process.popen.terminate()
        process.end()
    assert process.popen.returncode == 0


def test_wrong_settings_are_all_said_at_once(processes: Processes) -> None:
    """Exit code 2, one line for each, no traceback, nothing of the store's URL."""
    process = processes.start(ROUTER_PORT="many", ROUTER_MAX_BODY="big", ROUTER_LOG_FORMAT="xml")
    log = process.end()
    assert process.popen.returncode == 2
    for name in ("ROUTER_STORE_URL", "ROUTER_PORT", "ROUTER_MAX_BODY", "ROUTER_LOG_FORMAT"):
        assert name in log
    assert "Traceback" not in log


def test_credentials_in_the_store_url_never_show(processes: Processes) -> None:
    """The refusal says where they belong."""
    process = processes.start(ROUTER_STORE_URL="s3://user:hush@bucket/x")
    log = process.end()
    assert process.popen.returncode == 2
    assert "hush" not in log
    assert "AWS_SECRET_ACCESS_KEY" in log


def test_defaults_are_what_is_documented() -> None:
    """Every default, pinned."""
    settings = Settings.read({"ROUTER_STORE_URL": "file:///x"})
    assert settings == Settings(store_url="file:///x")
    assert (
        settings.host, settings.port, settings.listen_fd, settings.poll_interval_s
    ) == ("127.0.0.1", 8080, None, 0.5)  # fmt: skip
    assert Settings.read({"ROUTER_STORE_URL": "s3://bucket"}).poll_interval_s == 1.0
    assert (
        settings.limits.max_body_bytes, settings.limits.max_held_bytes, settings.limits.max_connections_per_pool
    ) == (16 << 20, 256 << 20, 256)  # fmt: skip
    assert (
        settings.drain_timeout_s, settings.access_log, settings.log_as_json, settings.log_level
    ) == (30.0, False, False, "INFO")  # fmt: skip


def test_every_variable_is_read_and_documented() -> None:
    """The page lists exactly the variables that there are."""
    page = (ROOT / "docs" / "router.md").read_text("utf-8")
    for name in VARIABLES:
        assert f"`{name}`" in page


def test_every_setting_arrives() -> None:
    """What is set is what is used."""
    settings = Settings.read(
        {
            "ROUTER_STORE_URL": "file:///x",
            "ROUTER_HOST": "0.0.0.0",
            "ROUTER_PORT": "9",
            "ROUTER_LISTEN_FD": "5",
            "ROUTER_WORKERS": "3",
            "ROUTER_ENV_FILE": "/settings",
            "ROUTER_POLL_INTERVAL_S": "2",
            "ROUTER_MAX_BODY": "1Mi",
            "ROUTER_MAX_HELD_BODIES": "2Mi",
            "ROUTER_MAX_CONNECTIONS_PER_POOL": "7",
            "ROUTER_CONNECT_TIMEOUT_S": "0.5",
            "ROUTER_DRAIN_TIMEOUT_S": "4",
            "ROUTER_ACCESS_LOG": "true",
            "ROUTER_LOG_FORMAT": "json",
            "ROUTER_LOG_LEVEL": "warning",
            "BOTSHARD_LIFELINE_FD": "6",
            "ROUTER_SERVICE_HOST": "10.0.0.1",
        }
    )
    limits = Limits(max_body_bytes=1 << 20, max_held_bytes=2 << 20, max_connections_per_pool=7, connect_timeout_s=0.5)
    assert settings == Settings(
        "file:///x", "0.0.0.0", 9, 5, 2.0, limits, 4.0, True, True, "WARNING", 6, 3, ("ROUTER_SERVICE_HOST",)
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROUTER_PORT", "65536"),
        ("ROUTER_PORT", "tcp://10.0.0.1:80"),
        ("ROUTER_POLL_INTERVAL_S", "0"),
        ("ROUTER_POLL_INTERVAL_S", "nan"),
        ("ROUTER_MAX_BODY", "-1"),
        ("ROUTER_MAX_HELD_BODIES", "1Ki"),
        ("ROUTER_MAX_CONNECTIONS_PER_POOL", "0"),
        ("ROUTER_ACCESS_LOG", "yes"),
        ("ROUTER_LOG_LEVEL", "loud"),
        ("ROUTER_WORKERS", "0"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_with_what_would_be_right(name: str, value: str) -> None:
    """The problem names the variable."""
    with pytest.raises(InvalidDocumentError) as caught:
        Settings.read({"ROUTER_STORE_URL": "file:///x", name: value})
    assert [name] == [problem.field for problem in caught.value.problems]


def test_a_running_router_idles(fleet: Fleet, processes: Processes) -> None:
    """Half a second of doing nothing costs less than 20 ms of CPU, the clock's step included."""
    fleet.publish_bots(*(f"bot-{number}" for number in range(200)))
    fleet.publish_table("http://127.0.0.1:1")
    process = processes.start(ROUTER_STORE_URL=fleet.url, ROUTER_PORT="0")
    process.next_notice()

    def used_s() -> float:
        columns = Path(f"/proc/{process.popen.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")

    before_s = used_s()
    polls_later = eventually(lambda: _after(process, seconds=0.5), within_s=5.0)
    assert polls_later
    assert used_s() - before_s <= 0.02
    process.popen.terminate()
    process.end()


def _after(process: Process, *, seconds: float) -> bool:
    """Whether the process lives after some time of nothing."""
    with pytest.raises(subprocess.TimeoutExpired):
        process.popen.wait(timeout=seconds)
    return True
