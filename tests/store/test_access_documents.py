"""Keys and limits in the store: what is written is read, what is wrong is named, and nobody's change is lost."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.ids import BotId, TenantId
from botshard.store.access_keys import (
    AccessKey,
    AccessKeys,
    Role,
    change_keys,
    decode_keys,
    encode_keys,
    id_of_key,
    new_key,
    read_keys,
)
from botshard.store.access_limits import AccessLimits, Limit, decode_limits, encode_limits
from botshard.store.base import ObjectStore
from botshard.store.documents import DocumentFollower
from botshard.store.layout import ACCESS_KEYS
from tests.store.homes import Home

IDS = st.text("abcdefghijkmnpqrstuvwxyz23456789", min_size=12, max_size=12)
TENANTS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).map(TenantId)
TIMES = st.integers(0, 2**40)
KEYS = st.builds(
    AccessKey,
    id=IDS,
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    tenant=TENANTS,
    roles=st.just(frozenset({Role.INFER})),
    created_at_s=TIMES,
    expires_at_s=st.none() | TIMES,
    note=st.from_regex(r"[ -~äöü€]{0,200}", fullmatch=True),
)
LIMITS = st.builds(Limit, st.none(), st.none(), st.none() | st.integers(1, 10**6)) | st.builds(
    Limit, st.floats(0.001, 1e6), st.none() | st.integers(1, 10**6), st.none() | st.integers(1, 10**6)
)


@given(st.lists(KEYS, max_size=5), st.integers(0, 2**40))
def test_keys_read_back_as_they_were_written(keys: list[AccessKey], revision: int) -> None:
    """Whatever they are."""
    written = AccessKeys({key.id: key for key in keys}, revision)
    assert decode_keys(encode_keys(written)) == written


@given(
    st.builds(
        AccessLimits,
        tenant=LIMITS,
        bot=LIMITS,
        tenants=st.dictionaries(TENANTS, LIMITS, max_size=3),
        bots=st.dictionaries(st.just(BotId("bot")), LIMITS, max_size=1),
        shared_concurrency=st.none() | st.integers(1, 10**6),
        routers=st.integers(1, 1000),
        revision=st.integers(0, 2**40),
    )
)
def test_limits_read_back_as_they_were_written(limits: AccessLimits) -> None:
    """Whatever they are."""
    assert decode_limits(encode_limits(limits)) == limits


GOOD = {"id": "a" * 12, "sha256": "0" * 64, "tenant": "acme", "roles": ["infer"], "createdAt": 1}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "A" * 12}, "keys[0].id"),
        ({"sha256": "bsk_aaaaaaaaaaaa_" + "s" * 43}, "keys[0].sha256"),
        ({"tenant": ""}, "keys[0].tenant"),
        ({"roles": []}, "keys[0].roles"),
        ({"roles": ["infer", "root"]}, "keys[0].roles[1]"),
        ({"roles": [["infer"]]}, "keys[0].roles[0]"),
        ({"roles": ["admin"]}, "keys[0].tenant"),
        ({"createdAt": -1}, "keys[0].createdAt"),
        ({"expiresAt": "soon"}, "keys[0].expiresAt"),
        ({"note": "two\nlines"}, "keys[0].note"),
        ({"secret": "x"}, "keys[0].secret"),
    ],
    ids=lambda found: str(found)[:40],
)
def test_a_wrong_field_refuses_the_whole_document(change: dict[str, Any], field: str) -> None:
    """It is named, and what may be a key is not shown."""
    document = {"format": "botshard.keys/v1", "revision": 1, "keys": [{**GOOD, **change}]}
    with pytest.raises(InvalidDocumentError) as caught:
        decode_keys(json.dumps(document).encode())
    assert field in [problem.field for problem in caught.value.problems]
    assert "s" * 43 not in str(caught.value)


def test_one_id_is_one_key() -> None:
    """Two entries with it are refused, and so is another format."""
    for document in (
        {"format": "botshard.keys/v1", "revision": 1, "keys": [GOOD, GOOD]},
        {"format": "botshard.keys/v2", "revision": 1, "keys": []},
    ):
        with pytest.raises(InvalidDocumentError):
            decode_keys(json.dumps(document).encode())


def add_key(store: ObjectStore) -> tuple[AccessKey, str]:
    """A new key of acme, stored."""
    key, shown = new_key(tenant=TenantId("acme"), roles=[Role.INFER], now_s=1)
    change_keys(store, lambda keys: keys.with_key(key))
    return key, shown


def test_keys_that_are_made_at_the_same_time_are_all_kept(home: Home) -> None:
    """Each change is applied to what the others left."""

    def make(store: ObjectStore) -> None:
        for _ in range(5):
            add_key(store)

    stores = [home.open() for _ in range(3)]
    threads = [threading.Thread(target=make, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_keys(stores[0])
    assert (len(found.keys), found.revision) == (15, 15)
    for store in stores:
        store.close()


def test_a_follower_keeps_the_last_good_document(home: Home) -> None:
    """Through damage and absence; what comes back unchanged is judged anew."""
    store = home.open()
    follower = DocumentFollower(store, ACCESS_KEYS, decode=decode_keys)
    assert (follower.refresh(), follower.value, follower.is_looked_for) == (False, None, True)
    key, shown = add_key(store)
    assert id_of_key(shown) == key.id
    assert follower.refresh()
    assert not follower.refresh()
    held, data = follower.value, store.get(ACCESS_KEYS).data
    store.put(ACCESS_KEYS, data[:-5])
    assert (follower.refresh(), follower.value is held) == (False, True)
    assert ACCESS_KEYS in (follower.problem or "")
    store.delete(ACCESS_KEYS)
    follower.refresh()
    assert (follower.value is held, "is gone" in (follower.problem or "")) == (True, True)
    store.put(ACCESS_KEYS, data)
    assert (follower.refresh(), follower.problem) == (False, None)
    store.close()
