"""One stack, asked through the router and at the pools: the same protocol, the same answers, clients made by others."""

from __future__ import annotations

import gzip
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import pytest
import tritonclient.http as triton

from botshard.bots.rollouts import retire
from botshard.bots.template import TemplateKind, write_template
from botshard.oip.client import decode_response, encode_request
from botshard.oip.tensors import Tensor
from tests.local_stack import LocalStack, write_bots
from tests.oip.schema import assert_valid
from tests.waiting import eventually

pytestmark = pytest.mark.stack

_TEXT: Final = "text-bot"
_TENSOR: Final = "tensor-bot"
_SLEEPY: Final = "sleepy-bot"
_RETIRED: Final = "retired-bot"
_ROW: Final = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)
_MAX_BODY_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where the same question can be asked."""

    stack: LocalStack
    router: str

    def pool(self, bot: str) -> str:
        """URL of the pool that has a bot."""
        group = "non-realtime-" if bot in (_SLEEPY, _TENSOR) else "realtime-"
        urls = [status.url for name, status in self.stack.statuses().items() if name.startswith(group)]
        assert urls[0] is not None
        return urls[0]

    def urls(self, bot: str) -> tuple[str, str]:
        """The router, and the bot's pool itself."""
        return self.router, self.pool(bot)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON and say so."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Question:
    """One line of the tables below."""

    method: str
    path: str
    status: int
    schema: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    told: str = ""
    """A part of the answer."""
    bot: str = _TEXT
    """Whose pool is asked besides the router."""


def _say(url: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Said:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Said(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A stack with a realtime text bot, a tensor bot and a text bot that may sleep, and one that was retired."""
    folder: Path = tmp_path_factory.mktemp("protocol")
    with LocalStack(folder) as stack:
        bots = write_bots(folder / "bots", [_TEXT, _RETIRED])
        bots += write_bots(folder / "bots", [_SLEEPY], group="non-realtime")
        write_template(folder / "bots" / _TENSOR, kind=TemplateKind.TENSOR)
        stack.publish([*bots, folder / "bots" / _TENSOR])
        for bot in (_TEXT, _RETIRED, _SLEEPY):
            stack.wait_for(bot)
        place = Place(stack, stack.url)
        retire(stack.store, _RETIRED)
        for url in place.urls(_RETIRED):
            eventually(lambda url=url: _say(url, "GET", f"/v2/models/{_RETIRED}").status == 404)  # type: ignore[misc]
        yield place


def _text(bot: str = _TEXT, /, **changed: object) -> bytes:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["good morning"], **changed}
    return json.dumps({"id": f"of-{bot}", "inputs": [tensor]}).encode()


def _numbers(**changed: object) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": _ROW.ravel().tolist(), **changed}
    return json.dumps({"inputs": [tensor]}).encode()


_INFER: Final = f"/v2/models/{_TEXT}/infer"
_INFER_NUMBERS: Final = f"/v2/models/{_TENSOR}/infer"
_ANSWER: Final = "inference_response"
_ERROR: Final = "inference_error_response"
_METADATA: Final = "metadata_model_response"

_ANSWERED: Final = {
    "text": Question("POST", _INFER, 200, _ANSWER, _text(), told='"greeting"'),
    "text with an id": Question("POST", _INFER, 200, _ANSWER, _text(), told=f'"id":"of-{_TEXT}"'),
    "text to a bot that may sleep": Question(
        "POST", f"/v2/models/{_SLEEPY}/infer", 200, _ANSWER, _text(), told=f'"model_name":"{_SLEEPY}"', bot=_SLEEPY
    ),
    "version in the path": Question("POST", f"/v2/models/{_TEXT}/versions/1/infer", 200, _ANSWER, _text()),
    "numbers": Question("POST", _INFER_NUMBERS, 200, _ANSWER, _numbers(), bot=_TENSOR, told="10.0"),
    "gzip": Question("POST", _INFER, 200, _ANSWER, gzip.compress(_text()), {"content-encoding": "gzip"}),
    "bot metadata": Question("GET", f"/v2/models/{_TEXT}", 200, _METADATA, told='"torch_safetensors"'),
    "version metadata": Question("GET", f"/v2/models/{_TENSOR}/versions/1", 200, _METADATA, bot=_TENSOR),
}

_REFUSED: Final = {
    "unknown bot": Question("POST", "/v2/models/nobody/infer", 404, _ERROR, _text(), told="'nobody' does not exist"),
    "no bot id": Question("POST", "/v2/models/no%20body/infer", 404, _ERROR, _text(), told="'no body' does not exist"),
    "unknown bot's metadata": Question("GET", "/v2/models/nobody", 404, _ERROR, told="'nobody' does not exist"),
    "unknown bot's readiness": Question("GET", "/v2/models/nobody/ready", 404, _ERROR),
    "retired bot": Question("POST", f"/v2/models/{_RETIRED}/infer", 404, _ERROR, _text(), told=f"'{_RETIRED}'"),
    "retired bot's metadata": Question("GET", f"/v2/models/{_RETIRED}", 404, _ERROR),
    "unknown version": Question(
        "POST", f"/v2/models/{_TEXT}/versions/9/infer", 404, _ERROR, _text(), told="version 1 is"
    ),
    "unknown version's metadata": Question("GET", f"/v2/models/{_TEXT}/versions/9", 404, _ERROR),
    "unknown version's readiness": Question("GET", f"/v2/models/{_TEXT}/versions/9/ready", 404, _ERROR),
    "version that is no number": Question("GET", f"/v2/models/{_TEXT}/versions/x", 404, _ERROR),
    "unknown route": Question("GET", "/nothing", 404, _ERROR),
    "unknown route of the protocol": Question("POST", f"/v2/models/{_TEXT}/explode", 404, _ERROR, b"{}"),
    "wrong tensor name": Question("POST", _INFER, 400, _ERROR, _text(name="txt"), told="'txt'"),
    "wrong shape": Question("POST", _INFER, 400, _ERROR, _text(shape=[1]), told="'text'"),
    "shape and data differ": Question("POST", _INFER, 400, _ERROR, _text(shape=[2, 1]), told="'text'"),
    "wrong datatype": Question("POST", _INFER, 400, _ERROR, _text(datatype="FP32", data=[1.0]), told="'text'"),
    "no datatype at all": Question("POST", _INFER, 400, _ERROR, _text(datatype="FP99"), told="'text'"),
    "numbers, wrong name": Question("POST", _INFER_NUMBERS, 400, _ERROR, _numbers(name="z"), bot=_TENSOR, told="'z'"),
    "numbers, wrong shape": Question(
        "POST", _INFER_NUMBERS, 400, _ERROR, _numbers(shape=[1, 3], data=[1, 2, 3]), bot=_TENSOR, told="'x'"
    ),
    "numbers, a text among them": Question(
        "POST", _INFER_NUMBERS, 400, _ERROR, _numbers(data=[1, 2, "three", 4]), bot=_TENSOR, told="'x'"
    ),
    "malformed JSON": Question("POST", _INFER, 400, _ERROR, b"{not json", told="not JSON"),
    "no object": Question("POST", _INFER, 400, _ERROR, b"[]", told="object"),
    "no inputs": Question("POST", _INFER, 400, _ERROR, b"{}", told="inputs"),
    "empty body": Question("POST", _INFER, 400, _ERROR, b"", told="empty"),
    "no gzip": Question("POST", _INFER, 400, _ERROR, _text(), {"content-encoding": "gzip"}, told="gzip"),
    "unknown encoding": Question("POST", _INFER, 400, _ERROR, _text(), {"content-encoding": "br"}, told="'br'"),
    "inflates to too much": Question(
        "POST", _INFER, 413, _ERROR, gzip.compress(b" " * (_MAX_BODY_BYTES + 1)), {"content-encoding": "gzip"}
    ),
    "body too large": Question("POST", _INFER, 413, _ERROR, b" " * (_MAX_BODY_BYTES + 1), told=str(_MAX_BODY_BYTES)),
    "wrong length of the JSON part": Question(
        "POST", _INFER, 400, _ERROR, _text(), {"inference-header-content-length": "9999"}, told="9999"
    ),
    "no duration": Question("POST", _INFER, 400, _ERROR, _text(), {"x-request-timeout": "soon"}, told="'soon'"),
    "no duration at all": Question("POST", _INFER, 400, _ERROR, _text(), {"x-request-timeout": "0"}, told="'0'"),
    "GET infer": Question("GET", _INFER, 405, _ERROR, told="use POST"),
    "PUT infer": Question("PUT", _INFER, 405, _ERROR, _text(), told="use POST"),
    "DELETE a bot": Question("DELETE", f"/v2/models/{_TEXT}", 405, _ERROR, told="use GET or HEAD"),
    "POST the server's metadata": Question("POST", "/v2", 405, _ERROR, b"{}", told="use GET or HEAD"),
    "GET the index": Question("GET", "/v2/repository/index", 405, _ERROR, told="use POST"),
    "index with a wrong option": Question("POST", "/v2/repository/index", 400, _ERROR, b'{"ready":1}', told="ready"),
    "index without JSON": Question("POST", "/v2/repository/index", 400, _ERROR, b"nope", told="not JSON"),
    "unload a realtime bot": Question("POST", f"/v2/repository/models/{_TEXT}/unload", 400, _ERROR, b"{}"),
    "load an unknown bot": Question("POST", "/v2/repository/models/nobody/load", 404, _ERROR, b"{}"),
    "V1, unknown bot": Question("POST", "/v1/models/nobody:predict", 404, _ERROR, b'{"instances":["hi"]}'),
    "V1, no instances": Question("POST", f"/v1/models/{_TEXT}:predict", 400, _ERROR, b'{"instances":[]}'),
    "V1, malformed JSON": Question("POST", f"/v1/models/{_TEXT}:predict", 400, _ERROR, b"{", told="not JSON"),
    "V1, wrong method": Question("GET", f"/v1/models/{_TEXT}:predict", 405, _ERROR, told="use POST"),
    "V1, explain": Question("POST", f"/v1/models/{_TEXT}:explain", 501, _ERROR, b'{"instances":["hi"]}'),
}


@pytest.mark.parametrize("question", [pytest.param(q, id=name) for name, q in {**_ANSWERED, **_REFUSED}.items()])
def test_router_and_pool_answer_the_same_as_the_protocol_says(place: Place, question: Question) -> None:
    """Status, body and `Allow` are the same from both, fit the description and say what is wrong."""
    said = [
        _say(url, question.method, question.path, question.body, question.headers) for url in place.urls(question.bot)
    ]
    router, pool = said
    assert (question.status, question.status) == (router.status, pool.status), said
    assert router.body == pool.body
    assert router.headers.get("allow") == pool.headers.get("allow")
    assert (router.status == 405) == ("allow" in router.headers)
    for answer in said:
        assert_valid(answer.json, question.schema)
        assert question.told in answer.body.decode()
        if question.status == 200:
            assert int(answer.headers["x-botshard-epoch"]) >= 1


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2", f"/v2/models/{_TEXT}/ready"])
def test_head_is_get_without_the_body(place: Place, path: str) -> None:
    """As HTTP wants it, from both."""
    for url in place.urls(_TEXT):
        got, looked = _say(url, "GET", path), _say(url, "HEAD", path)
        assert (got.status, looked.status, looked.body) == (200, 200, b"")
        assert isinstance(got.json, dict)


def test_each_server_says_what_it_is(place: Place) -> None:
    """Metadata by the description, with the same extensions; listings of the router hold those of a pool."""
    router, pool = (_say(url, "GET", "/v2").json for url in place.urls(_TEXT))
    for metadata in (router, pool):
        assert_valid(metadata, "metadata_server_response")
    assert router["extensions"] == pool["extensions"]
    for path in ("/v2/models", "/v1/models"):
        router, pool = (_say(url, "GET", path).json for url in place.urls(_TEXT))
        assert router == {"models": [_SLEEPY, _TENSOR, _TEXT]}
        assert pool == {"models": [_TEXT]}
    for body in (b"", b"{}", b'{"ready": true}'):
        router, pool = (_say(url, "POST", "/v2/repository/index", body).json for url in place.urls(_TEXT))
        assert pool == [entry for entry in router if entry["name"] == _TEXT]
        assert pool[0]["state"] == "READY"


def test_a_bot_of_another_pool_is_told_by_the_pool_and_found_by_the_router(place: Place) -> None:
    """421 with the epoch in the protocol's form; no client of the router ever sees it."""
    path = f"/v2/models/{_TENSOR}/infer"
    misdirected = _say(place.pool(_TEXT), "POST", path, _numbers())
    assert misdirected.status == 421
    assert_valid(misdirected.json, _ERROR)
    assert int(misdirected.headers["x-botshard-epoch"]) >= 1
    assert _say(place.router, "POST", path, _numbers()).status == 200


def test_a_deadline_is_told_in_the_protocols_form(place: Place) -> None:
    """Too short for anything: 504, or 408 where the router did not even see the body."""
    for url in place.urls(_TEXT):
        late = _say(url, "POST", _INFER, _text(), {"x-request-timeout": "0.000001"})
        assert late.status in (408, 504)
        assert_valid(late.json, _ERROR)
        assert "within 1e-06 s" in late.json["error"]


def test_binary_tensors_are_the_same_from_both(place: Place) -> None:
    """The binary extension both ways: JSON part by the description, bytes behind it."""
    body, length = encode_request([Tensor.of("x", _ROW)], binary=True)
    answers = []
    for url in place.urls(_TENSOR):
        said = _say(url, "POST", _INFER_NUMBERS, body, {"inference-header-content-length": str(length)})
        assert said.status == 200
        head = int(said.headers["inference-header-content-length"])
        answer = json.loads(said.body[:head])
        assert [output.pop("parameters") for output in answer["outputs"]] == [{"binary_data_size": 8}]
        # The description knows nothing of the extension, which puts a tensor's data behind the JSON part.
        assert_valid({**answer, "outputs": [{**output, "data": []} for output in answer["outputs"]]}, _ANSWER)
        decoded = decode_response(said.body, header_length=head)
        np.testing.assert_allclose(decoded.outputs["y"].numpy(), [[10.0, -2.0]])
        answers.append(said.body)
    assert answers[0] == answers[1]


def test_v1_predicts_the_same_from_both(place: Place) -> None:
    """One prediction an instance."""
    body = json.dumps({"instances": ["good morning", "bye"]}).encode()
    router, pool = (_say(url, "POST", f"/v1/models/{_TEXT}:predict", body) for url in place.urls(_TEXT))
    assert (router.status, router.body) == (200, pool.body)
    assert router.json["predictions"][0]["label"] == "greeting"
    router, pool = (_say(url, "GET", f"/v1/models/{_TEXT}") for url in place.urls(_TEXT))
    assert (router.status, router.body) == (200, pool.body)


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritonclient_asks_bots(place: Place, *, binary: bool, compression: str | None) -> None:
    """Texts and numbers, compressed or not, through the router and at the pool."""
    for bot, url in [(name, url) for name in (_TEXT, _SLEEPY, _TENSOR) for url in place.urls(name)]:
        with triton.InferenceServerClient(urlsplit(url).netloc) as client:
            if bot == _TENSOR:
                tensor = triton.InferInput("x", [1, 4], "FP32")
                tensor.set_data_from_numpy(_ROW, binary_data=binary)
                wanted = triton.InferRequestedOutput("y", binary_data=binary)
            else:
                tensor = triton.InferInput("text", [1, 1], "BYTES")
                tensor.set_data_from_numpy(np.array([["good morning"]], dtype=np.object_), binary_data=binary)
                wanted = triton.InferRequestedOutput("label", binary_data=binary)
            result = client.infer(bot, [tensor], outputs=[wanted], request_compression_algorithm=compression)
            if bot == _TENSOR:
                np.testing.assert_allclose(result.as_numpy("y"), [[10.0, -2.0]])
            else:
                label = result.as_numpy("label").item()
                assert (label.decode() if isinstance(label, bytes) else label) == "greeting"
            assert (result.get_response()["model_name"], result.get_response()["model_version"]) == (bot, "1")


def test_tritonclient_finds_its_way(place: Place) -> None:
    """Health, metadata and repository; each error is its own exception with our text."""
    for url in place.urls(_TEXT):
        with triton.InferenceServerClient(urlsplit(url).netloc) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready(_TEXT)
            assert client.is_model_ready(_TEXT, "1")
            assert not client.is_model_ready(_TEXT, "2")
            assert not client.is_model_ready("nobody")
            assert client.get_server_metadata()["name"].startswith("botshard")
            assert client.get_model_metadata(_TEXT, "1")["inputs"][0]["name"] == "text"
            assert _TEXT in {entry["name"] for entry in client.get_model_repository_index()}
            client.load_model(_TEXT)
            with pytest.raises(triton.InferenceServerException, match="stay loaded") as refused:
                client.unload_model(_TEXT)
            assert refused.value.status() == "400"
            wrong = triton.InferInput("txt", [1, 1], "BYTES")
            wrong.set_data_from_numpy(np.array([["hi"]], dtype=np.object_))
            with pytest.raises(triton.InferenceServerException, match="input 'txt': is unknown; the inputs are text"):
                client.infer(_TEXT, [wrong])
            with pytest.raises(triton.InferenceServerException, match="bot 'nobody' does not exist") as unknown:
                client.infer("nobody", [wrong])
            assert unknown.value.status() == "404"


_KSERVE: Final = """
import asyncio, sys
import httpx, numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

TEXT, TENSOR = "text-bot", "tensor-bot"

def text(name="text"):
    tensor = InferInput(name, [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([["good morning"]], dtype=np.object_), binary_data=False)
    return InferRequest(model_name=TEXT, infer_inputs=[tensor])

def numbers(binary):
    tensor = InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.array([[1, 2, 3, 4]], dtype=np.float32), binary_data=binary)
    return InferRequest(model_name=TENSOR, infer_inputs=[tensor])

async def main(router, text_pool, tensor_pool):
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    for texts, tensors in ((router, router), (text_pool, tensor_pool)):
        assert await client.is_server_live(texts)
        assert await client.is_server_ready(texts)
        assert await client.is_model_ready(texts, TEXT)
        try:
            assert not await client.is_model_ready(texts, "nobody")
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == 404
        result = await client.infer(texts, text(), model_name=TEXT)
        print(result.model_name, result.outputs[0].data)
        for binary in (False, True):
            result = await client.infer(tensors, numbers(binary), model_name=TENSOR)
            print(result.model_name, result.outputs[0].as_numpy().ravel().tolist())
        for request, name in ((text("txt"), TEXT), (text(), "nobody")):
            try:
                await client.infer(texts, request, model_name=name)
            except httpx.HTTPStatusError as error:
                print(error.response.status_code, error.response.json())
    await client.close()

asyncio.run(main(*sys.argv[1:]))
"""


def test_kserves_own_client_works_unchanged(place: Place) -> None:
    """Health, texts, numbers either way and errors, through the router and at the pools."""
    # In a process of its own: the SDK configures logs and event loops when it is imported.
    argv = [sys.executable, "-W", "ignore", "-c", _KSERVE, place.router, place.pool(_TEXT), place.pool(_TENSOR)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = [
        f"{_TEXT} ['greeting']",
        *[f"{_TENSOR} [10.0, -2.0]"] * 2,
        "400 {'error': \"input 'txt': is unknown; the inputs are text\"}",
        "404 {'error': \"bot 'nobody' does not exist\"}",
    ]
    assert done.stdout.splitlines() == expected * 2
