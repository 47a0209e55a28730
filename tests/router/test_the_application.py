"""Everything that is not the hot path: health, metadata, listings, admin, and the form of every error."""

from __future__ import annotations

import asyncio

import pytest

from tests.oip.schema import assert_valid
from tests.router.fleet import SLEEPY, Fleet, pool
from tests.router.running import running_router
from tests.router.upstreams import infer_answer, plain, upstream


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/nothing", 404, id="unknown path"),
        pytest.param("GET", "/v2/models/bot/nothing", 404, id="unknown path of a bot"),
        pytest.param("GET", "/v2/models//infer", 404, id="no name"),
        pytest.param("POST", "/v2", 405, id="wrong method"),
        pytest.param("GET", "/v2/models/bot/infer", 405, id="wrong method of a bot"),
        pytest.param("DELETE", "/v2/models/bot", 405, id="nothing deletes"),
        pytest.param("POST", "/admin/table", 405, id="admin only reads"),
        pytest.param("POST", "/v2/models/other/infer", 404, id="unknown bot"),
        pytest.param("POST", "/v2/models/%2e%2e/infer", 404, id="dots"),
        pytest.param("POST", "/v2/models/b%00t/infer", 404, id="a zero byte"),
        pytest.param("POST", "/v2/models/b%F0%9F%A4%96t/infer", 404, id="not ASCII"),
        pytest.param("GET", "/admin/bots/other", 404, id="unknown bot in admin"),
        pytest.param("POST", "/v2/repository/index", 400, id="malformed body"),
        pytest.param("POST", "/v2/models/homeless/infer", 503, id="no pool yet"),
    ],
)
async def test_every_error_has_the_protocols_form(fleet: Fleet, method: str, path: str, status: int) -> None:
    """`{"error": text}` and nothing else, with the status that fits and the request's id."""
    fleet.publish_bots("bot")
    fleet.publish_bots("homeless", key=SLEEPY)
    fleet.publish_table("http://127.0.0.1:1")
    async with running_router(fleet) as router:
        answer = await router.client.request(
            method, path, content=b"{" if method == "POST" else None, headers={"content-type": "application/json"}
        )
    assert status == answer.status_code
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert_valid(answer.json(), "inference_error_response")
    if status == 405:
        assert answer.headers["allow"]
    if status == 503:
        assert answer.headers["retry-after"]


async def test_server_and_health_follow_the_description(fleet: Fleet) -> None:
    """What the protocol's description says of the server's own paths holds."""
    fleet.publish_bots("bot")
    fleet.publish_table("http://127.0.0.1:1")
    async with running_router(fleet) as router:
        server = await router.client.get("/v2")
        live = await router.client.get("/v2/health/live")
        ready = await router.client.get("/v2/health/ready")
    assert_valid(server.json(), "metadata_server_response")
    assert "binary_tensor_data" in server.json()["extensions"]
    assert (live.json(), ready.json()) == ({"live": True}, {"ready": True})


async def test_listings_name_the_bots_that_are_served(fleet: Fleet) -> None:
    """Retired bots are not listed; one without a pool says so."""
    fleet.publish_bots("b", "a")
    fleet.publish_bots("gone", retired=True)
    fleet.publish_bots("homeless", key=SLEEPY, version=3)
    fleet.publish_table("http://127.0.0.1:1")
    async with running_router(fleet) as router:
        models = await router.client.get("/v2/models")
        index = await router.client.post("/v2/repository/index")
        ready = await router.client.post("/v2/repository/index", json={"ready": True})
    assert models.json() == {"models": ["a", "b", "homeless"]}
    assert [entry["name"] for entry in ready.json()] == ["a", "b"]
    assert index.json()[2] == {"name": "homeless", "version": "3", "state": "UNAVAILABLE", "reason": "no pool yet"}


async def test_admin_explains_where_a_bot_is(fleet: Fleet) -> None:
    """Inputs, family, shard, pools, epoch and the reason, also for bots without a place."""
    fleet.publish_bots("bot")
    fleet.publish_bots("homeless", key=SLEEPY)
    fleet.publish_bots("gone", retired=True)
    fleet.publish_table("http://127.0.0.1:1", "http://127.0.0.1:2")
    async with running_router(fleet) as router:
        bot = (await router.client.get("/admin/bots/bot")).json()
        homeless = (await router.client.get("/admin/bots/homeless")).json()
        gone = (await router.client.get("/admin/bots/gone")).json()
        table = (await router.client.get("/admin/table")).json()
    assert [pool(0), pool(1)] == [item["name"] for item in bot["pools"]]
    assert (bot["epoch"], bot["shard"], bot["inputs"]["framework"]) == (1, 0, "torch")
    assert "fewest requests" in bot["why"]
    assert "no pool yet" in homeless["why"]
    assert "retired" in gone["why"]
    assert {pool(0), pool(1)} == {item["name"] for item in table["pools"]}


async def test_the_page_describes_the_forwarded_paths_too(fleet: Fleet) -> None:
    """The OpenAPI document names every path, and the page is there."""
    async with running_router(fleet) as router:
        document = (await router.client.get("/openapi.json")).json()
        page = await router.client.get("/docs")
    assert page.status_code == 200
    for path in ("/v2/models/{bot}/infer", "/v1/models/{bot}:predict", "/v2/health/ready", "/admin/bots/{bot}"):
        assert path in document["paths"]


@pytest.mark.parametrize(
    ("raw", "status", "text"),
    [
        pytest.param(plain(b"request timeout", 504, content_type="text/plain"), 504, "request timeout", id="text"),
        pytest.param(plain(b'{"detail":"Not Found"}', 422), 422, "Not Found", id="another JSON"),
        pytest.param(plain(b"", 500, content_type="text/html"), 500, "no text", id="nothing"),
        pytest.param(plain(b"x" * 5000, 500, content_type="text/html"), 500, "xxx", id="a page"),
    ],
)
async def test_errors_from_in_front_of_a_pool_get_the_protocols_form(
    fleet: Fleet, raw: bytes, status: int, text: str
) -> None:
    """A gateway's answer is passed on by status, as an error that names the pool."""
    fleet.publish_bots("bot")
    async with upstream(raw) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            answer = await router.infer("bot")
            again = await router.infer("bot")
    assert (status, status) == (answer.status_code, again.status_code)
    assert_valid(answer.json(), "inference_error_response")
    assert text in answer.json()["error"]
    assert pool() in answer.json()["error"]


async def test_an_error_in_the_protocols_form_is_left_as_it_is(fleet: Fleet) -> None:
    """A pool of another make is understood too."""
    fleet.publish_bots("bot")
    async with upstream(plain(b'{"error":"input x: wrong"}', 400)) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            answer = await router.infer("bot")
    assert (answer.status_code, answer.json()) == (400, {"error": "input x: wrong"})


async def test_a_pipelining_client_gets_its_answers_in_order(fleet: Fleet) -> None:
    """Requests sent without waiting are answered one after the other."""
    fleet.publish_bots("one", "two")

    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
            head = "POST /v2/models/{}/infer HTTP/1.1\r\nhost: x\r\nx-request-id: {}\r\ncontent-length: 2\r\n\r\n{{}}"
            writer.write("".join(head.format(name, name) for name in ("one", "none", "two")).encode())
            ids: list[bytes] = []
            while len(ids) < 3:
                line = await reader.readline()
                if line.startswith(b"x-request-id: "):
                    ids.append(line.split()[1])
            writer.close()
    assert ids == [b"one", b"none", b"two"]
