"""The standard services beside the protocol: health, asked and watched, and reflection."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.kserve_runtimes.bot_folders import linear_folder
from tests.kserve_runtimes.conftest import Served
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.servers import free_port

SERVING, NOT_SERVING, UNKNOWN = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
)


@pytest.fixture(name="channel")
def _channel(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        yield channel


@pytest.mark.parametrize(
    ("service", "status"),
    [
        pytest.param("", SERVING, id="the server"),
        pytest.param("inference.GRPCInferenceService", SERVING, id="the inference service"),
        pytest.param("text", SERVING, id="a bot"),
        pytest.param("broken", NOT_SERVING, id="a bot that cannot be loaded"),
    ],
)
def test_health_is_told(channel: Any, service: str, status: int) -> None:
    """By the standard service, for the whole, for the protocol, and for each bot by its id."""
    health = health_pb2_grpc.HealthStub(channel)
    assert health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status == status
    watched = health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=10)
    assert next(watched).status == status
    watched.cancel()


def test_the_health_of_what_is_not_there_is_unknown(channel: Any) -> None:
    """NOT_FOUND when asked, SERVICE_UNKNOWN when watched, since it may come."""
    health = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as failed:
        health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    watched = health.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
    assert next(watched).status == UNKNOWN
    watched.cancel()


def test_who_watches_is_told_of_changes_and_of_the_end(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path) -> None:
    """A bot of a sleeping pool that is loaded and unloaded; the server that is told to end."""
    pool = pool_of("non-realtime", "torch")
    fleet.publish(linear_folder(tmp_path, "one", group="non-realtime"))
    fleet.publish_table({key_of("non-realtime", "torch"): [pool]})
    port = free_port()
    with (
        Replica(torch_zygote, fleet, pool, RUNTIME_GRPC_PORT=str(port)).wait_ready() as replica,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        bot = health.Watch(health_pb2.HealthCheckRequest(service="one"), timeout=30)
        whole = health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert next(bot).status == NOT_SERVING
        assert next(whole).status == SERVING
        assert replica.bots()["absent"] == 1, "watching does not load"
        replica.multiply("one")
        assert next(bot).status == SERVING
        replica.post("/v2/repository/models/one/unload", {})
        assert next(bot).status == NOT_SERVING
        os.kill(replica.pid, signal.SIGTERM)
        assert next(whole).status == NOT_SERVING
        assert list(whole) == []
        assert list(bot) == []
        assert replica.stop(None) == 0


def _reflect(channel: Any, **asked: str) -> Any:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**asked)]), timeout=10)
    return answer


def test_reflection_lists_the_services(channel: Any) -> None:
    """All four, by both names of reflection itself."""
    services = [service.name for service in _reflect(channel, list_services="").list_services_response.service]
    assert services == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    ]
    request = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    answers = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(
        iter([request]), timeout=10
    )
    assert len(reflection_pb2.ServerReflectionResponse.FromString(next(answers)).list_services_response.service) == 4


def test_reflection_describes_the_protocol(channel: Any) -> None:
    """What a generic client needs to call `ModelInfer` by hand; what is not there is said to be missing."""
    found = _reflect(channel, file_containing_symbol="inference.GRPCInferenceService").file_descriptor_response
    (file,) = (FileDescriptorProto.FromString(data) for data in found.file_descriptor_proto)
    assert "ModelInfer" in [method.name for method in file.service[0].method]
    assert "ModelInferRequest" in [message.name for message in file.message_type]
    assert _reflect(channel, file_containing_symbol="no.Such").error_response.error_code == 5
