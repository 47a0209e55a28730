"""Other people's clients, unchanged: tritonclient and KServe's own, each for REST and gRPC."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import numpy as np
import pytest
import tritonclient.http as triton

from tests.kserve_runtimes.bot_folders import LABELS, linear_weights
from tests.kserve_runtimes.conftest import Served

ROW: Final = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritonclient_infers(served: Served, *, binary: bool, compression: str | None) -> None:
    """Numbers and texts, JSON and binary, compressed or not."""
    with triton.InferenceServerClient(f"127.0.0.1:{served.replica.port}") as client:
        numbers = triton.InferInput("x", [1, 4], "FP32")
        numbers.set_data_from_numpy(ROW, binary_data=binary)
        wanted = [triton.InferRequestedOutput("y", binary_data=binary)]
        result = client.infer("linear", [numbers], outputs=wanted, request_compression_algorithm=compression)
        np.testing.assert_allclose(result.as_numpy("y"), ROW @ linear_weights(1).T, atol=1e-5)
        texts = triton.InferInput("text", [2, 1], "BYTES")
        texts.set_data_from_numpy(np.array([["hi"], ["bye"]], dtype=np.object_), binary_data=binary)
        labels = client.infer("text", [texts], request_compression_algorithm=compression).as_numpy("label")
        assert {value if isinstance(value, str) else value.decode() for value in labels.ravel()} <= set(LABELS)


def test_tritonclient_finds_its_way(served: Served) -> None:
    """Health, metadata and the repository; errors come as its own exception with our text."""
    with triton.InferenceServerClient(f"127.0.0.1:{served.replica.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("text")
        assert client.is_model_ready("text", "1")
        assert not client.is_model_ready("broken")
        assert client.get_server_metadata()["name"] == "botshard"
        assert client.get_model_metadata("text")["inputs"][0]["name"] == "text"
        assert len(client.get_model_repository_index()) == 4
        client.load_model("text")
        with pytest.raises(triton.InferenceServerException, match="does not exist"):
            client.get_model_metadata("nobody")


_KSERVE: Final = """
import asyncio, sys
import grpc, numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

http, port = sys.argv[1], sys.argv[2]
row = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)

def numbers(binary):
    tensor = InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(row, binary_data=binary)
    return InferRequest(model_name="linear", infer_inputs=[tensor])

def texts(binary):
    tensor = InferInput("text", [2, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([["hi"], ["bye"]], dtype=np.object_), binary_data=binary)
    return InferRequest(model_name="text", infer_inputs=[tensor])

def shown(*results):
    for result in results:
        print(*[round(float(value), 4) for value in result.outputs[0].as_numpy().ravel()])

def labels(result):
    values = result.outputs[0].as_numpy().ravel()
    print(*[value.decode() if isinstance(value, bytes) else value for value in values])

async def code(call):
    try:
        await call
    except grpc.RpcError as error:
        print(error.code().name, "|", error.details())

async def main():
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    shown(*[await rest.infer(http, numbers(binary), model_name="linear") for binary in (False, True)])
    labels(await rest.infer(http, texts(False), model_name="text"))
    print(await rest.is_server_ready(http), await rest.is_server_live(http))
    print(await rest.is_model_ready(http, "text"), await rest.is_model_ready(http, "broken"))
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    print(len((await v1.infer(http, {"instances": ["hi"]}, model_name="text"))["predictions"]))
    print(await v1.is_model_ready(http, "text"), await v1.is_model_ready(http, "broken"))
    options = [("grpc.enable_retries", 0)]
    rpc = InferenceGRPCClient("127.0.0.1:" + port, channel_args=options)
    shown(*[await rpc.infer(numbers(binary)) for binary in (False, True)])
    for binary in (False, True):
        labels(await rpc.infer(texts(binary)))
    print(await rpc.is_server_ready(), await rpc.is_server_live())
    print(await rpc.is_model_ready("text"), await rpc.is_model_ready("broken"))
    for name in ("nobody", "elsewhere", "broken"):
        request = numbers(True)
        request.model_name = name
        await code(rpc.infer(request))
    wrong = numbers(True)
    wrong.inputs[0]._name = "z"
    await code(rpc.infer(wrong))
    await code(rpc.infer(numbers(True), headers=[("x-request-timeout", "0.000001")]))
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as stubs
    async with grpc.aio.insecure_channel("127.0.0.1:" + port) as channel:
        stub = stubs.GRPCInferenceServiceStub(channel)
        print((await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="text"))).isLoaded)
        await code(stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="text")))
        print((await stub.ServerMetadata(pb.ServerMetadataRequest())).name)
        print([i.name for i in (await stub.ModelMetadata(pb.ModelMetadataRequest(name="text"))).inputs])
        call = stub.ModelInfer(numbers(True).to_grpc())
        await call
        print({key: value for key, value in await call.trailing_metadata() if key.startswith("x-")})

asyncio.run(main())
"""


_TRITON: Final = """
import queue, sys
import numpy as np
import tritonclient.grpc as triton

row = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)
client = triton.InferenceServerClient("127.0.0.1:" + sys.argv[1])

def shown(result):
    print(*[round(float(value), 4) for value in result.as_numpy("y").ravel()])

def refused(call, *arguments):
    try:
        call(*arguments)
    except triton.InferenceServerException as error:
        print(error.status(), "|", error.message())

numbers = triton.InferInput("x", [1, 4], "FP32")
numbers.set_data_from_numpy(row)
for compression in (None, "gzip", "deflate"):
    shown(client.infer("linear", [numbers], compression_algorithm=compression))
shown(client.infer("linear", [numbers], model_version="1", outputs=[triton.InferRequestedOutput("y")]))
answers = queue.Queue()
client.async_infer("linear", [numbers], lambda result, error: answers.put(result or error))
shown(answers.get(timeout=20))
texts = triton.InferInput("text", [2, 1], "BYTES")
texts.set_data_from_numpy(np.array([["hi"], ["bye"]], dtype=np.object_))
result = client.infer("text", [texts], request_id="r-1", headers={"x-request-id": "h-1"})
print(*[value.decode() for value in result.as_numpy("label").ravel()], result.get_response().id)
print(client.is_server_live(), client.is_server_ready())
print(client.is_model_ready("text"), client.is_model_ready("text", "1"), client.is_model_ready("broken"))
print(client.get_server_metadata().name, client.get_model_metadata("text").inputs[0].name)
print(*[(model.name, model.state) for model in client.get_model_repository_index().models])
print(client.load_model("text"))
refused(client.unload_model, "text")
refused(client.load_model, "nobody")
refused(client.infer, "linear", [texts])
client.close()
"""


def test_tritonclients_grpc_works_unchanged(served: Served) -> None:
    """Inference with and without compression, later and at once; health, metadata, the repository, errors."""
    # In a process of its own: its messages and KServe's have the same names, and one process has one pool of names.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _TRITON, str(served.grpc_port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    numbers = " ".join(str(round(float(value), 4)) for value in (ROW @ linear_weights(1).T).ravel())
    assert lines[:5] == [numbers] * 5
    *labels, answered = lines[5].split()
    assert (set(labels) <= set(LABELS), answered) == (True, "r-1")
    assert lines[6:9] == ["True True", "True True False", "botshard text"]
    index = "('broken', 'UNAVAILABLE') ('exported', 'READY') ('linear', 'READY') ('text', 'READY')"
    assert lines[9:11] == [index, "None"]
    assert lines[11].startswith("StatusCode.INVALID_ARGUMENT | the bots of a realtime pool stay loaded")
    assert lines[12].startswith("StatusCode.NOT_FOUND | bot 'nobody' does not exist")
    assert lines[13].startswith("StatusCode.INVALID_ARGUMENT | input 'text': is unknown")


def test_kserves_own_clients_work_unchanged(served: Served) -> None:
    """REST V1, V2 and binary; gRPC raw and typed; and each error with its own code."""
    # In a process of its own: the SDK configures logs and event loops when it is imported.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _KSERVE, served.replica.url, str(served.grpc_port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    numbers = " ".join(str(round(float(value), 4)) for value in (ROW @ linear_weights(1).T).ravel())
    lines = done.stdout.splitlines()
    labels = lines[2]
    assert set(labels.split()) <= set(LABELS)
    metadata = {"x-botshard-epoch": "1", "x-botshard-pool": served.pool, "x-botshard-bot-version": "1"}
    expected = [numbers, numbers, labels, "True True", "True False", "1", "True False"]
    expected += [numbers, numbers, labels, labels, "True True", "True False"]
    assert lines[: len(expected)] == expected
    told = lines[len(expected) :]
    assert told[0].startswith("NOT_FOUND | bot 'nobody' does not exist")
    assert told[1].startswith("FAILED_PRECONDITION | bot 'elsewhere' is not in pool")
    assert told[2].startswith("UNAVAILABLE | bot 'broken' cannot be loaded")
    assert told[3].startswith("INVALID_ARGUMENT | input 'z': is unknown")
    assert told[4].startswith("DEADLINE_EXCEEDED")
    assert told[5] == "True"
    assert told[6].startswith("INVALID_ARGUMENT | the bots of a realtime pool stay loaded")
    assert told[7:] == ["botshard", "['text']", str(metadata)]
