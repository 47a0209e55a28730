"""`python -m router --workers`: one address, several processes; one may die, all may be replaced, none outlives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from botshard.local.processes import start_ticks_of
from tests.router.fleet import Fleet
from tests.router.processes import Process, Processes
from tests.router.upstreams import Call, infer_answer, upstream
from tests.waiting import aeventually, eventually

_REQUEST = b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
_WITHIN_S = 30.0


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """A starter of router processes."""
    found = Processes(tmp_path)
    yield found
    found.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _start(processes: Processes, fleet: Fleet, *arguments: str, workers: int = 2) -> Process:
    port = _free_port()
    return processes.start(
        port=port,
        arguments=["--workers", str(workers), *arguments],
        ROUTER_STORE_URL=fleet.url,
        ROUTER_PORT=str(port),
    )


async def _ready(process: Process) -> None:
    notice = await asyncio.to_thread(process.next_notice)
    assert notice is not None
    assert (notice.ready, notice.pid) == (True, process.popen.pid)


def _children(process: Process) -> set[int]:
    pid = process.popen.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


async def _get(process: Process, path: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=15.0) as client:
        return await client.get(process.url + path)


async def _workers(process: Process) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = (await _get(process, "/admin/workers")).json()["workers"]
    return said


async def _counted(process: Process) -> float:
    """Requests that were answered by the pool, by the metrics."""
    lines = (await _get(process, "/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("botshard_router_requests_total"))


@dataclass
class _Load:
    """Clients that keep their connections, and clients that do not; each request is asked once."""

    port: int
    answered: int = 0
    problems: list[str] = field(default_factory=list)
    _is_over: bool = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        clients = [asyncio.create_task(self._ask_on(is_kept=number % 2 == 0)) for number in range(8)]
        try:
            yield
        finally:
            self._is_over = True
            await asyncio.gather(*clients)

    async def _ask_on(self, *, is_kept: bool) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._is_over:
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", self.port)
                head = await asyncio.wait_for(ask(*connection), _WITHIN_S)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.problems.append(repr(error))
                head = b""
            if head.startswith(b"HTTP/1.1 200 "):
                self.answered += 1
            elif head:
                self.problems.append(head.decode())
            if connection is not None and (not is_kept or not head or b"connection: close" in head.lower()):
                connection[1].close()
                connection = None
        if connection is not None:
            connection[1].close()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Ask and take the whole answer; its head."""
    writer.write(_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
    return head


async def test_reloads_under_load_fail_no_request_and_lose_no_count(
    fleet: Fleet, processes: Processes, tmp_path: Path
) -> None:
    """Kept connections and new ones; all workers are others afterwards, with the settings that the file has then."""
    settings = tmp_path / "settings"
    settings.write_text("ROUTER_MAX_BODY=1Ki\n")
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        process = _start(processes, fleet, "--env-file", str(settings))
        await _ready(process)
        settings.write_text("ROUTER_MAX_BODY=2Ki\n")
        load = _Load(process.port)
        async with load.running():
            for _ in range(2):
                before = _children(process)
                answered = load.answered
                process.popen.send_signal(signal.SIGHUP)

                async def replaced(old: set[int] = before) -> bool:
                    said = await _workers(process)
                    return (
                        len(said) == 2 and not old & {worker["pid"] for worker in said} and not old & _children(process)
                    )

                await aeventually(replaced, within_s=_WITHIN_S)
                await aeventually(partial(_exceeds, load, answered + 50), within_s=_WITHIN_S)
        assert load.problems == []
        await aeventually(partial(_all_counted, process, load), within_s=_WITHIN_S)
        async with httpx.AsyncClient() as client:
            large = await client.post(f"{process.url}/v2/models/bot/infer", content=b"{}".ljust(1500))
        assert large.status_code == 200
        text = (await _get(process, "/metrics")).text
        assert 'botshard_router_reloads_total{result="done"} 2.0' in text
        process.popen.terminate()
        log = await asyncio.to_thread(process.end)
    assert process.popen.returncode == 0
    assert "Traceback" not in log


async def _all_counted(process: Process, load: _Load) -> bool:
    return await _counted(process) == load.answered


async def _exceeds(load: _Load, count: int) -> bool:
    return load.answered > count


async def test_a_reload_that_cannot_be_changes_nothing(fleet: Fleet, processes: Processes, tmp_path: Path) -> None:
    """Wrong settings are named, a successor that does not come up too; those that serve go on."""
    settings = tmp_path / "settings"
    settings.write_text("")
    process = _start(processes, fleet, "--env-file", str(settings), workers=1)
    await _ready(process)
    before = _children(process)

    async def reloads(result: str) -> bool:
        return f'botshard_router_reloads_total{{result="{result}"}} 1.0' in (await _get(process, "/metrics")).text

    for text, result in (("ROUTER_MAX_BODY=big\n", "refused"), ("PYTHONHASHSEED=none\n", "failed")):
        settings.write_text(text)
        process.popen.send_signal(signal.SIGHUP)
        await aeventually(partial(reloads, result), within_s=_WITHIN_S)
    assert _children(process) == before
    os.kill(next(iter(before)), signal.SIGKILL)
    await aeventually(lambda: _serves(process, before), within_s=_WITHIN_S)
    process.popen.terminate()
    log = await asyncio.to_thread(process.end)
    assert "ROUTER_MAX_BODY" in log


async def _serves(process: Process, before: set[int]) -> bool:
    """Whether none of those of before does any more, and somebody does."""
    said = {worker["pid"] for worker in await _workers(process)}
    return bool(said) and not said & before


async def test_no_worker_makes_room_for_one_that_knows_less(fleet: Fleet, processes: Processes) -> None:
    """While the store is away a successor waits, and the one before answers; once it is back, it is replaced."""
    fleet.publish_bots("bot")
    away = fleet.folder.with_name("away")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        process = _start(processes, fleet, workers=1)
        await _ready(process)
        before = _children(process)
        fleet.folder.rename(away)
        load = _Load(process.port)
        async with load.running():
            process.popen.send_signal(signal.SIGHUP)
            await aeventually(partial(_has_children, process, 2), within_s=_WITHIN_S)
            await aeventually(partial(_store_is_away, process), within_s=_WITHIN_S)
            await aeventually(partial(_exceeds, load, load.answered + 200), within_s=_WITHIN_S)
            assert {worker["pid"] for worker in await _workers(process)} == before
            away.rename(fleet.folder)
            await aeventually(partial(_serves, process, before), within_s=_WITHIN_S)
        assert load.problems == []
        process.popen.terminate()
        await asyncio.to_thread(process.end)


async def _has_children(process: Process, count: int) -> bool:
    return len(_children(process)) == count


async def _store_is_away(process: Process) -> bool:
    return "store" in (await _get(process, "/admin/table")).json()["problems"]


async def test_a_worker_that_is_killed_is_started_again(fleet: Fleet, processes: Processes) -> None:
    """The other one goes on, who waits in the queue of the dead one is answered, and one that is told to go drains."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        process = _start(processes, fleet)
        await _ready(process)
        first, second = sorted(_children(process))
        os.kill(first, signal.SIGKILL)
        load = _Load(process.port)
        async with load.running():
            await aeventually(lambda: _exceeds(load, 100), within_s=_WITHIN_S)
            await aeventually(lambda: _count_is(process, 2), within_s=_WITHIN_S)
            os.kill(second, signal.SIGTERM)
            await aeventually(lambda: _serves(process, {second}), within_s=_WITHIN_S)
            await aeventually(lambda: _count_is(process, 2), within_s=_WITHIN_S)
        assert load.problems == []
        await aeventually(partial(_all_counted, process, load), within_s=_WITHIN_S)
        assert len({worker["worker"] for worker in await _workers(process)}) == 2
        process.popen.terminate()
        await asyncio.to_thread(process.end)


async def _count_is(process: Process, count: int) -> bool:
    return len(await _workers(process)) == count


@pytest.mark.parametrize("is_shared", [False, True], ids=["own sockets", "an inherited socket"])
async def test_a_stop_lets_all_requests_finish_and_a_second_one_does_not(
    fleet: Fleet, processes: Processes, *, is_shared: bool
) -> None:
    """Every worker drains; told twice, all of them end, and the supervisor with 0."""
    arrived: list[asyncio.Event] = []

    async def answer(call: Call) -> None:
        mine = asyncio.Event()
        arrived.append(mine)
        await mine.wait()
        await call.write(infer_answer("bot"))

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url, request_timeout_s=60.0)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            own = {"ROUTER_LISTEN_FD": str(listening.fileno())} if is_shared else {}
            if is_shared:
                process = processes.start(
                    fds=(listening.fileno(),),
                    port=listening.getsockname()[1],
                    arguments=["--workers", "2"],
                    ROUTER_STORE_URL=fleet.url,
                    **own,
                )
            else:
                process = _start(processes, fleet)
            await _ready(process)
            connections = [await asyncio.open_connection("127.0.0.1", process.port) for _ in range(8)]
            asked = [asyncio.create_task(ask(*connection)) for connection in connections]
            await aeventually(lambda: _all_arrived(arrived, 8), within_s=_WITHIN_S)
            process.popen.terminate()
            stopping = await asyncio.to_thread(process.next_notice)
            assert stopping is not None
            assert stopping.ready is False
            for event in arrived[:4]:
                event.set()
            done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=_WITHIN_S)
            while len(done) < 4:
                more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=_WITHIN_S)
                done |= more
            assert all(task.result().startswith(b"HTTP/1.1 200 ") for task in done)
            process.popen.terminate()
            for task in waiting:
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    await asyncio.wait_for(task, _WITHIN_S)
            await asyncio.to_thread(process.end)
            for event in arrived:
                event.set()
            for _, writer in connections:
                writer.close()
    assert process.popen.returncode == 0


async def _all_arrived(arrived: list[asyncio.Event], count: int) -> bool:
    return len(arrived) == count


async def test_workers_end_with_a_supervisor_that_is_killed(fleet: Fleet, processes: Processes) -> None:
    """Nobody is left to end them, so that they do it themselves."""
    process = _start(processes, fleet)
    await _ready(process)
    workers = _children(process)
    assert len(workers) == 2
    process.popen.kill()
    await asyncio.to_thread(process.end)
    eventually(lambda: all(start_ticks_of(pid) is None for pid in workers), within_s=_WITHIN_S)


async def test_who_waits_for_a_worker_that_does_not_come_back_is_served_by_another(
    fleet: Fleet, processes: Processes, tmp_path: Path
) -> None:
    """The other one accepts in its place, as often as it dies."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        process = _start(processes, fleet)
        await _ready(process)
        first, second = sorted(_children(process))
        load = _Load(process.port)
        os.kill(first, signal.SIGKILL)

        def kill_others() -> bool:
            for pid in _children(process) - {second}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return load.answered > 300

        async with load.running():
            await aeventually(partial(_as_async, kill_others), within_s=_WITHIN_S)
        assert load.problems == []
        process.popen.terminate()
        await asyncio.to_thread(process.end)


async def _as_async(check: Callable[[], bool]) -> bool:
    return check()


async def test_a_crash_loop_is_given_up_with_3(fleet: Fleet, processes: Processes) -> None:
    """A worker that never lives for long is started again a few times, each time later."""
    process = _start(processes, fleet, workers=1)
    await _ready(process)

    def kill() -> bool:
        for pid in _children(process) if process.popen.poll() is None else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return process.popen.poll() is not None

    await asyncio.to_thread(eventually, kill, within_s=_WITHIN_S)
    log = await asyncio.to_thread(process.end)
    assert process.popen.returncode == 3
    assert log.count("worker lost") == 5
    assert "giving up" in log


async def test_two_supervisors_do_not_share_a_port(fleet: Fleet, processes: Processes) -> None:
    """The second one says that it is taken, though the option that workers share it by would allow it."""
    first = _start(processes, fleet, workers=2)
    await _ready(first)
    second = processes.start(arguments=["--workers", "2"], ROUTER_STORE_URL=fleet.url, ROUTER_PORT=str(first.port))
    log = await asyncio.to_thread(second.end)
    assert second.popen.returncode == 1
    assert f"127.0.0.1:{first.port}" in log
    first.popen.terminate()
    await asyncio.to_thread(first.end)


def test_what_keeps_every_worker_from_starting_is_the_exit_code(processes: Processes) -> None:
    """Settings are refused before any process is started; a store that cannot be opened by the first of them."""
    refused = processes.start(arguments=["--workers", "many"])
    assert "ROUTER_WORKERS" in refused.end()
    assert refused.popen.returncode == 2
    closed = processes.start(arguments=["--workers", "2"], ROUTER_STORE_URL="s3://user:hush@bucket/x", ROUTER_PORT="0")
    assert "hush" not in closed.end()
    assert closed.popen.returncode == 2


def test_help_tells_every_setting(processes: Processes) -> None:
    """With signals and exit codes; nothing is started."""
    process = processes.start(arguments=["--help"])
    said, _ = process.popen.communicate(timeout=_WITHIN_S)
    assert process.popen.returncode == 0
    assert {"ROUTER_STORE_URL", "ROUTER_WORKERS", "SIGHUP", "--env-file"} <= set(said.replace(",", " ").split())
