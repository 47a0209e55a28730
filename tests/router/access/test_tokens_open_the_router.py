"""JSON Web Tokens: real signatures, key sets from files and over HTTPS, rotation, and all the ways to cheat."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from botshard.store.access_keys import EVERY_TENANT, Role
from router.access.claims import Claims
from router.access.key_set import KeySetFollower, read_key_set
from router.access.settings import AccessSettings, TokenSettings
from router.access.tokens import Tokens
from router.errors import NotReadyError, UnauthorizedError
from tests.router.access.certificates import Authority, Issuer
from tests.router.access.key_server import KeyServer
from tests.router.fleet import Fleet
from tests.router.running import running_router
from tests.router.upstreams import infer_answer, upstream
from tests.waiting import aeventually, eventually

CLAIMS = Claims("https://issuer.example", ("bots", "other-bots"), roles="realm_access.roles")
TAKEN = ("RS256", "ES256", "EdDSA")


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """One issuer with one key of each kind."""
    return Issuer()


def tokens_of(folder: Path, document: Any, *, algorithms: tuple[str, ...] = TAKEN) -> tuple[Tokens, KeySetFollower]:
    """What verifies tokens by a key set in a file."""
    file = folder / "jwks.json"
    file.write_text(json.dumps(document))
    follower = KeySetFollower(file.as_uri(), algorithms=algorithms, interval_s=300.0)
    follower.refresh()
    return Tokens(follower, CLAIMS, clock_s=time.monotonic, wall_s=time.time), follower


@pytest.mark.parametrize("algorithm", TAKEN)
def test_a_token_says_whose_it_is(tmp_path: Path, issuer: Issuer, algorithm: str) -> None:
    """Tenant, roles, name; the second time without verifying it again."""
    tokens, _ = tokens_of(tmp_path, issuer.key_set())
    token = issuer.token(algorithm, realm_access={"roles": ["admin", "infer", "else"]}, aud=["x", "bots"], tenant="*")
    found = tokens.who(token)
    assert (found.name, found.tenant, found.tag) == ("somebody", EVERY_TENANT, None)
    assert found.roles == {Role.INFER, Role.ADMIN}
    assert time.monotonic() + 50 < found.until_s <= time.monotonic() + 91
    assert tokens.who(token) is found


def test_claims_are_found_by_name_and_by_way(tmp_path: Path, issuer: Issuer) -> None:
    """A claim whose name has dots is found too. Without roles a token may ask bots, with others' roles nothing."""
    tokens, _ = tokens_of(tmp_path, issuer.key_set())
    assert tokens.who(issuer.token()).roles == {Role.INFER}
    assert tokens.who(issuer.token(**{"realm_access.roles": "infer  admin"})).roles == {Role.INFER, Role.ADMIN}
    assert tokens.who(issuer.token(realm_access={"roles": ["viewer"]})).roles == set()
    assert tokens.who(issuer.token(realm_access=[])).roles == {Role.INFER}


NOW = int(time.time())


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        pytest.param({"exp": 1}, "time is up", id="expired"),
        pytest.param({"exp": None}, "'exp'", id="without an end"),
        pytest.param({"nbf": NOW + 3600}, "has not come", id="not yet"),
        pytest.param({"iss": "https://another.example"}, "another issuer", id="issuer"),
        pytest.param({"iss": None}, "'iss'", id="no issuer"),
        pytest.param({"aud": "web"}, "another audience", id="audience"),
        pytest.param({"aud": None}, "'aud'", id="no audience"),
        pytest.param({"tenant": None}, "does not name a tenant", id="no tenant"),
        pytest.param({"tenant": ["acme"]}, "does not name a tenant", id="tenants"),
        pytest.param({"tenant": "a/b"}, "does not name a tenant", id="not a tenant"),
        pytest.param({"exp": "soon"}, "not good", id="end is a word"),
    ],
)
def test_what_a_token_says_is_checked(tmp_path: Path, issuer: Issuer, claims: dict[str, Any], why: str) -> None:
    """Each is refused with its reason."""
    tokens, _ = tokens_of(tmp_path, issuer.key_set())
    with pytest.raises(UnauthorizedError, match=why):
        tokens.who(issuer.token("EdDSA", **claims))


def test_clocks_may_be_a_little_apart(tmp_path: Path, issuer: Issuer) -> None:
    """Half a minute both ways."""
    tokens, _ = tokens_of(tmp_path, issuer.key_set())
    now_s = int(time.time())
    assert tokens.who(issuer.token(exp=now_s - 10)).tenant == "acme"
    assert tokens.who(issuer.token(nbf=now_s + 10)).tenant == "acme"
    with pytest.raises(UnauthorizedError):
        tokens.who(issuer.token(exp=now_s - 31))


def _forged(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts).decode()


def test_forged_tokens_are_refused(tmp_path: Path, issuer: Issuer) -> None:
    """No signature, a public key as a shared secret, another's key, another algorithm, a changed payload, rubbish."""
    tokens, _ = tokens_of(tmp_path, issuer.key_set())
    payload = jwt.decode(issuer.token(), options={"verify_signature": False})
    public = issuer.keys["RS256"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    good = issuer.token("RS256")
    head, body, signature = good.split(".")
    other = _forged({}, {**payload, "tenant": "victim"}).split(".")[1]
    mallory = Issuer()
    forged = [
        _forged({"alg": "none", "kid": "one-RS256"}, payload),
        _forged({"alg": "None"}, payload),
        _forged({"kid": "one-RS256"}, payload),
        _forged({"alg": ["RS256"], "kid": "one-RS256"}, payload),
        _forged({"alg": "RS256", "kid": ["one-RS256"]}, payload),
        _forged({"alg": "RS256", "kid": "one-RS256", "b64": False, "crit": ["b64"]}, payload),
        _hmac_token(pem, payload),
        mallory.token("RS256"),
        mallory.token("EdDSA"),
        jwt.encode(payload, issuer.keys["RS256"], "PS256", headers={"kid": "one-RS256"}),
        jwt.encode(payload, issuer.keys["RS256"], "RS256", headers={"kid": "one-ES256"}),
        jwt.encode(payload, issuer.keys["RS256"], "RS256"),  # several keys, and none named
        f"{head}.{other}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        "a.b.c",
        "..",
        "x" * 20_000,
    ]
    for token in forged:
        with pytest.raises((UnauthorizedError, NotReadyError)):
            tokens.who(token)
    assert tokens.who(good).tenant == "acme"


def _hmac_token(secret: bytes, payload: dict[str, Any]) -> str:
    import hashlib
    import hmac

    head, body, _ = _forged({"alg": "HS256", "kid": "one-RS256"}, payload).split(".")
    signature = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_keys_that_are_not_for_us_are_left_out(issuer: Issuer) -> None:
    """Shared secrets, private halves, keys for encryption, small ones; a set without any other is refused."""
    small = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))
    private = json.loads(RSAAlgorithm.to_jwk(issuer.keys["RS256"]))
    good = issuer.key_set()["keys"]
    others = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
        {**good[0], "kid": "encryption", "use": "enc"},
        {**good[0], "kid": "other", "alg": "RS512"},
        {**good[1], "kid": "curve", "crv": "P-384"},
        {**private, "kid": "private"},
        {**small, "kid": "small"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": 3},
        {"kid": "typeless"},
        {"kty": "RSA", "kid": 7},
        "no key",
    ]
    found = read_key_set(json.dumps({"keys": [*others, *good]}).encode(), TAKEN)
    assert set(found.keys) == {"one-RS256", "one-ES256", "one-EdDSA"}
    refused: list[Any] = [{"keys": others}, {"keys": []}, {"keys": "x"}, [], {"keys": [good[0], good[0]]}]
    for document in refused:
        with pytest.raises(ValueError, match=r"key|list"):
            read_key_set(json.dumps(document).encode(), TAKEN)
    with pytest.raises(ValueError, match="JSON"):
        read_key_set(b"[" * 100_000, TAKEN)


def test_a_single_key_needs_no_name(tmp_path: Path, issuer: Issuer) -> None:
    """Neither in the set nor in the token."""
    key = {name: value for name, value in issuer.key_set()["keys"][1].items() if name != "kid"}
    tokens, _ = tokens_of(tmp_path, {"keys": [key]})
    payload = jwt.decode(issuer.token(), options={"verify_signature": False})
    assert tokens.who(jwt.encode(payload, issuer.keys["ES256"], "ES256")).tenant == "acme"


def test_a_withdrawn_key_takes_its_tokens_along(tmp_path: Path, issuer: Issuer) -> None:
    """Those that were verified before; a damaged file changes nothing; other keys in a file are known at once."""
    tokens, follower = tokens_of(tmp_path, issuer.key_set())
    token = issuer.token("RS256")
    before = tokens.who(token)
    (tmp_path / "jwks.json").write_text('{"keys": ')
    assert (follower.refresh(), follower.problem is None) == (False, False)
    assert tokens.who(token) is before
    newer = Issuer("two")
    both = {"keys": [*issuer.key_set()["keys"], *newer.key_set()["keys"]]}
    (tmp_path / "jwks.json").write_text(json.dumps(both))
    with pytest.raises(NotReadyError):  # asked for, by the next poll
        tokens.who(newer.token())
    assert (follower.refresh(), follower.problem) == (True, None)
    assert tokens.who(newer.token()).tenant == "acme"
    assert tokens.still(before) is before
    assert tokens.who(token).judged_by is follower.value
    (tmp_path / "jwks.json").write_text(json.dumps(newer.key_set()))
    assert follower.refresh()
    with pytest.raises(UnauthorizedError, match="not known"):
        tokens.who(token)
    with pytest.raises(UnauthorizedError, match="withdrawn"):
        tokens.still(before)


def test_what_is_remembered_of_tokens_is_bounded(tmp_path: Path, issuer: Issuer, monkeypatch: Any) -> None:
    """The one used longest ago is verified again."""
    monkeypatch.setattr("router.access.tokens._MOST_REMEMBERED", 3)
    tokens, _ = tokens_of(tmp_path, issuer.key_set())
    made = [issuer.token("EdDSA", sub=str(number)) for number in range(4)]
    found = [tokens.who(token) for token in made]
    assert tokens.who(made[3]) is found[3]
    assert tokens.who(made[0]) is not found[0]


def test_an_unknown_key_is_asked_for_once_in_a_while(tmp_path: Path, issuer: Issuer) -> None:
    """Over HTTPS, off the loop: a thousand tokens of unknown keys cost the issuer one request."""
    authority, newer = Authority(tmp_path), Issuer("two")
    with KeyServer(authority, issuer.key_set()) as server:
        follower = KeySetFollower(
            server.url, algorithms=TAKEN, interval_s=300.0, least_gap_s=0.2, tls=authority.trusting
        )
        tokens = Tokens(follower, CLAIMS, clock_s=time.monotonic, wall_s=time.time)
        with pytest.raises(NotReadyError):
            tokens.who(issuer.token())
        follower.refresh()
        assert tokens.who(issuer.token()).tenant == "acme"
        server.document = {"keys": [*issuer.key_set()["keys"], *newer.key_set()["keys"]]}

        def is_known() -> bool:
            follower.refresh()
            try:
                return tokens.who(newer.token()).tenant == "acme"
            except (NotReadyError, UnauthorizedError):
                return False

        eventually(is_known)
        asked = server.asked
        fast = KeySetFollower(server.url, algorithms=TAKEN, interval_s=300.0, least_gap_s=60.0, tls=authority.trusting)
        strict = Tokens(fast, CLAIMS, clock_s=time.monotonic, wall_s=time.time)
        fast.refresh()
        for number in range(1000):
            with pytest.raises((NotReadyError, UnauthorizedError)):
                strict.who(_forged({"alg": "RS256", "kid": f"nobody-{number}"}, {}))
            fast.refresh()
        assert server.asked == asked + 1


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_key_set_that_cannot_be_fetched_changes_nothing(tmp_path: Path, issuer: Issuer, status: int) -> None:
    """Why is told; a redirect is not followed; who is not known to the certificate's authority is not believed."""
    authority = Authority(tmp_path)
    with KeyServer(authority, issuer.key_set()) as server:
        follower = KeySetFollower(server.url, algorithms=TAKEN, interval_s=0.0, least_gap_s=0.0, tls=authority.trusting)
        follower.refresh()
        held = follower.value
        assert held is not None
        server.status = status

        def problem() -> str | None:
            follower.refresh()
            return follower.problem

        assert f"status {status}" in (eventually(problem) or "")
        assert follower.value is held
        stranger = KeySetFollower(server.url, algorithms=TAKEN, interval_s=0.0)
        stranger.refresh()
        assert "certificate" in (stranger.problem or "").lower()
        assert stranger.value is None


async def test_a_token_asks_a_bot(fleet: Fleet, tmp_path: Path, issuer: Issuer) -> None:
    """Through a whole router, beside keys; a new issuer's key is followed; the pool does not see the token."""
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(issuer.key_set()))
    access = AccessSettings(is_on=True, tokens=TokenSettings(file.as_uri(), CLAIMS))
    fleet.publish_bots("bot")
    fleet.publish_bots("ours", tenant="other")
    newer = Issuer("two")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, access=access) as router:

            async def status(token: str, bot: str = "bot") -> int:
                headers = {"authorization": f"Bearer {token}"}
                answer = await router.client.post(f"/v2/models/{bot}/infer", content=b"{}", headers=headers)
                return answer.status_code

            assert await status(issuer.token()) == 200
            assert await status(issuer.token(), "ours") == 404
            assert await status(issuer.token(tenant="other"), "ours") == 200
            assert await status(issuer.token(exp=1)) == 401
            file.write_text(json.dumps(newer.key_set()))

            async def is_taken() -> bool:
                return await status(newer.token()) == 200 and await status(issuer.token()) == 401

            await aeventually(is_taken)
    assert all("authorization" not in call.headers for call in server.calls)
