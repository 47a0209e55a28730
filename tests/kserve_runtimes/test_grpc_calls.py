"""What a gRPC client of a replica is told: answers as over REST, and every error with its own code."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from botshard.oip.client import decode_response, encode_request
from botshard.oip.grpc_schema import SERVICE, message_class
from botshard.oip.tensors import Tensor
from tests.kserve_runtimes.bot_folders import linear_weights
from tests.kserve_runtimes.conftest import Served
from tests.kserve_runtimes.grpc_asking import Failed, Rpc
from tests.oip.grpc_messages import infer_request

ROW = Tensor.of("x", np.array([[1.0, 2.0, 3.0, 4.0]], np.float32))
TEXTS = Tensor.of("text", ["good morning", "bye", "wann öffnen Sie?"])


@pytest.fixture(name="rpc")
def _rpc(served: Served) -> Iterator[Rpc]:
    with Rpc(served.grpc_port) as rpc:
        yield rpc


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize(("bot", "tensor"), [("linear", ROW), ("exported", ROW), ("text", TEXTS)])
def test_grpc_and_rest_agree_bit_for_bit(served: Served, rpc: Rpc, bot: str, tensor: Tensor, *, raw: bool) -> None:
    """Numbers and texts, raw and typed, beside REST's binary form."""
    outputs = rpc.outputs(infer_request(bot, tensor, raw=raw))
    body, length = encode_request([tensor], binary=True)
    answer = served.replica.request(
        "POST", f"/v2/models/{bot}/infer", body, {"inference-header-content-length": str(length)}
    )
    over_rest = decode_response(
        answer.body, header_length=int(answer.headers["inference-header-content-length"])
    ).outputs
    assert list(outputs) == list(over_rest)
    for name, output in outputs.items():
        assert output.shape == over_rest[name].shape
        assert output.numpy().tobytes() == over_rest[name].numpy().tobytes() or output.data == over_rest[name].data


def test_many_calls_at_once_each_get_their_own_answer(rpc: Rpc) -> None:
    """Sixty-four callers on one connection, whose rows are all different."""

    def ask(number: int) -> bool:
        row = np.full((1, 4), number, np.float32)
        y = rpc.outputs(infer_request("linear", Tensor.of("x", row), raw=number % 2 == 0))["y"].numpy()
        return bool(np.allclose(y, row @ linear_weights(1).T, rtol=1e-5, atol=1e-5))

    with ThreadPoolExecutor(64) as callers:
        assert all(callers.map(ask, range(400)))


def test_grpc_and_rest_wait_together(served: Served, rpc: Rpc) -> None:
    """Requests of both are in flight at once, may share a batch, and each gets its own answer."""

    def ask(number: int) -> bool:
        row = [float(number), 1.0, 2.0, 3.0]
        if number % 2:
            y = served.replica.multiply("linear", *row).json["outputs"][0]["data"]
        else:
            tensor = Tensor.of("x", np.array([row], np.float32))
            y = rpc.outputs(infer_request("linear", tensor, raw=True))["y"].numpy()[0]
        return bool(np.allclose(y, np.array(row, np.float32) @ linear_weights(1).T, rtol=1e-5, atol=1e-4))

    with ThreadPoolExecutor(32) as callers:
        assert all(callers.map(ask, range(400)))


def test_an_answer_says_where_it_comes_from(served: Served, rpc: Rpc) -> None:
    """Pool, epoch, version and the request's own id, as metadata that follows it."""
    request = infer_request("linear", ROW, raw=True, version="1", request_id="mine")
    rpc.outputs(request, metadata=(("x-request-id", "r-7"),))
    wanted = {"x-botshard-epoch": "1", "x-botshard-pool": str(served.pool), "x-botshard-bot-version": "1"}
    assert {name: value for name, value in rpc.trailing.items() if name in wanted} == wanted
    assert rpc.trailing["x-request-id"] == "r-7"
    failed = rpc.failure(infer_request("nobody", ROW, raw=True), metadata=(("x-request-id", "r-8"),))
    assert failed.trailing["x-request-id"] == "r-8"
    assert failed.trailing["x-botshard-epoch"] == "1"


def _changed(bot: str = "linear", **fields: Any) -> Any:
    request = infer_request(bot, ROW, raw=True)
    for name, value in fields.items():
        setattr(request, name, value)
    return request


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        pytest.param(_changed("nobody"), "NOT_FOUND", "'nobody' does not exist", id="unknown bot"),
        pytest.param(_changed("a b"), "NOT_FOUND", "does not exist", id="not even a bot id"),
        pytest.param(_changed(model_version="7"), "NOT_FOUND", "version 1 is", id="another version"),
        pytest.param(_changed("elsewhere"), "FAILED_PRECONDITION", "route it again", id="another pool's"),
        pytest.param(_changed("broken"), "UNAVAILABLE", "is damaged", id="failed to load"),
        pytest.param(infer_request("linear", raw=False), "INVALID_ARGUMENT", "'x': is missing", id="no input"),
        pytest.param(
            infer_request("text", ROW, raw=True), "INVALID_ARGUMENT", "'x': is unknown; the inputs are text", id="wrong"
        ),
        pytest.param(
            infer_request("linear", ROW, raw=True, outputs=["z"]),
            "INVALID_ARGUMENT",
            "output 'z': is unknown",
            id="unknown output",
        ),
    ],
)
def test_what_cannot_be_answered_has_its_code(rpc: Rpc, request_: Any, code: str, said: str) -> None:
    """Code and reason are those of REST's statuses and texts."""
    failed = rpc.failure(request_)
    assert (failed.code, said in failed.text) == (code, True), failed.text


def test_a_bot_that_cannot_be_loaded_says_when_to_ask_again(rpc: Rpc) -> None:
    """In seconds as over REST, and in the form that gRPC's clients wait by."""
    trailing = rpc.failure(_changed("broken")).trailing
    assert int(trailing["retry-after"]) >= 1
    assert int(trailing["grpc-retry-pushback-ms"]) == int(trailing["retry-after"]) * 1000


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        pytest.param((("x-botshard-epoch", "-1"),), "x-botshard-epoch must be", id="no epoch"),
        pytest.param((("x-request-timeout", "soon"),), "X-Request-Timeout must be", id="no duration"),
    ],
)
def test_bad_metadata_is_the_callers_fault(rpc: Rpc, metadata: tuple[tuple[str, str]], said: str) -> None:
    """INVALID_ARGUMENT, as bad headers are 400."""
    failed = rpc.failure(_changed(), metadata=metadata)
    assert (failed.code, said in failed.text) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "RepositoryModelLoad"])
def test_what_is_no_message_is_the_callers_fault(rpc: Rpc, method: str) -> None:
    """Bytes that protobuf cannot read."""
    failed = rpc.send(f"/{SERVICE}/{method}", b"\xff\xff\xff")
    assert isinstance(failed, Failed)
    assert (failed.code, failed.text) == ("INVALID_ARGUMENT", f"the message is not a {method}Request")


def test_a_message_over_the_limit_is_refused(rpc: Rpc) -> None:
    """The limit is this replica's 64 KiB, as for REST's bodies."""
    rows = Tensor.of("x", np.zeros((5000, 4), np.float32))
    assert rpc.failure(infer_request("linear", rows, raw=True)).code == "RESOURCE_EXHAUSTED"
    rows = Tensor.of("x", np.zeros((4000, 4), np.float32))
    assert rpc.outputs(infer_request("linear", rows, raw=True))["y"].shape == (4000, 2)


def test_a_deadline_that_is_over_is_told(rpc: Rpc) -> None:
    """What the router has left is the deadline here too, for every method."""
    failed = rpc.failure(_changed(), metadata=(("x-request-timeout", "0.000001"),))
    assert (failed.code, "not answered within" in failed.text) == ("DEADLINE_EXCEEDED", True)


def test_the_server_tells_about_itself(rpc: Rpc) -> None:
    """Liveness, readiness, metadata."""
    assert rpc.call("ServerLive").live
    assert rpc.call("ServerReady").ready
    assert rpc.call("ServerMetadata").name == "botshard"


def test_bots_tell_about_themselves(rpc: Rpc) -> None:
    """Readiness and metadata, with and without a version."""
    assert rpc.call("ModelReady", name="text").ready
    assert rpc.call("ModelReady", name="text", version="1").ready
    assert not rpc.call("ModelReady", name="broken").ready
    assert rpc.try_call("ModelReady", name="text", version="2").code == "NOT_FOUND"
    assert rpc.try_call("ModelReady", name="nobody").code == "NOT_FOUND"
    assert rpc.try_call("ModelReady", name="elsewhere").code == "FAILED_PRECONDITION"
    metadata = rpc.call("ModelMetadata", name="text", version="1")
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("text", ["1"], "torch_safetensors")
    assert [(item.name, item.datatype, list(item.shape)) for item in metadata.inputs] == [("text", "BYTES", [-1, 1])]
    assert [item.name for item in metadata.outputs] == ["label", "probabilities"]
    assert rpc.try_call("ModelMetadata", name="text", version="2").code == "NOT_FOUND"


def test_the_repository_is_listed(rpc: Rpc) -> None:
    """Every bot with its state, or those that are ready."""
    listed = rpc.call("RepositoryIndex").models
    assert [item.name for item in listed] == ["broken", "exported", "linear", "text"]
    assert "is damaged" in listed[0].reason
    assert [item.name for item in rpc.call("RepositoryIndex", ready=True).models] == ["exported", "linear", "text"]


@pytest.mark.parametrize("field", ["model_or_repository", "model_name"], ids=["KServe's field", "Triton's field"])
def test_load_and_unload_are_answered(rpc: Rpc, field: str) -> None:
    """A bot of a realtime pool can be loaded, which it is, and is not unloaded."""
    answer = rpc.call("RepositoryModelLoad", **{field: "text"})
    assert (answer.model_name, answer.isLoaded) == ("text", True)
    refused = rpc.try_call("RepositoryModelUnload", **{field: "text"})
    assert (refused.code, "stay loaded" in refused.text) == ("INVALID_ARGUMENT", True)
    assert rpc.try_call("RepositoryModelLoad", **{field: "nobody"}).code == "NOT_FOUND"
    assert rpc.try_call("RepositoryModelLoad", **{field: "broken"}).code == "UNAVAILABLE"


def test_calls_are_counted(served: Served, rpc: Rpc) -> None:
    """By class, as REST's answers are."""
    before = [served.replica.metric("botshard_requests_total", protocol="grpc", status=f"{n}xx") for n in (2, 4, 5)]
    rpc.outputs(_changed())
    rpc.failure(_changed("nobody"))
    rpc.failure(_changed("broken"))
    after = [served.replica.metric("botshard_requests_total", protocol="grpc", status=f"{n}xx") for n in (2, 4, 5)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]
    assert served.replica.metric("botshard_in_flight") == 0


def test_unknown_fields_are_ignored(rpc: Rpc) -> None:
    """Newer clients may say more than this server knows."""
    request = message_class("ModelInferRequest")()
    request.ParseFromString(_changed().SerializeToString() + b"\xfa\x3e\x03abc")
    assert rpc.outputs(request)["y"].shape == (1, 2)
