"""Lookup once more, from the text of `docs/placement.md` alone and BLAKE2b from RFC 7693: nothing of ours is imported.

What a client in another language would write. Where it and the product differ, one of them or the text is wrong.
"""

from __future__ import annotations

import json
from typing import Any

_MASK = 2**64 - 1
_IV = (
    *(0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1),
    *(0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179),
)
_SIGMA = [
    "0123456789abcdef",
    "ea489fd61c02b753",
    "b8c052fdae367194",
    "7931dcbe265a40f8",
    "905724afe1bc683d",
    "2c6a0b834d75fe19",
    "c51fed4a0763928b",
    "db7ec13950f4862a",
    "6fe9b308c2d714a5",
    "a2847615fb9e3cd0",
]


def _mix(v: list[int], a: int, b: int, c: int, d: int, words: tuple[int, int]) -> None:
    for word, first, second in ((words[0], 32, 24), (words[1], 16, 63)):
        v[a] = (v[a] + v[b] + word) & _MASK
        v[d] = _turn(v[d] ^ v[a], first)
        v[c] = (v[c] + v[d]) & _MASK
        v[b] = _turn(v[b] ^ v[c], second)


def _turn(word: int, places: int) -> int:
    return (word >> places | word << (64 - places)) & _MASK


def keyed_hash(key: bytes, message: bytes) -> bytes:
    """BLAKE2b of 8 bytes under a key (RFC 7693, section 3)."""
    state = list(_IV)
    state[0] ^= 0x01010000 ^ len(key) << 8 ^ 8
    data = key.ljust(128, b"\0") + message
    starts = range(0, len(data), 128)
    for start in starts:
        block = data[start : start + 128]
        m = [int.from_bytes(block.ljust(128, b"\0")[at : at + 8], "little") for at in range(0, 128, 8)]
        v = [*state, *_IV]
        v[12] ^= start + len(block)
        if start == starts[-1]:
            v[14] ^= _MASK
        for turn in range(12):
            s = [int(digit, 16) for digit in _SIGMA[turn % 10]]
            for column in range(4):
                pair = m[s[2 * column]], m[s[2 * column + 1]]
                _mix(v, column, 4 + column, 8 + column, 12 + column, pair)
            for column in range(4):
                pair = m[s[8 + 2 * column]], m[s[9 + 2 * column]]
                _mix(v, column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4, pair)
        state = [state[at] ^ v[at] ^ v[at + 8] for at in range(8)]
    return state[0].to_bytes(8, "little")


def family_id(properties: dict[str, str]) -> str:
    """Section 1, step 2."""
    texts = [properties["group"], properties["framework"], properties.get("backbone", ""), properties.get("pin", "")]
    return texts[1] + "-" + keyed_hash(b"botshard.family.v1", "\n".join(texts).encode()).hex()[:8]


def pool_name(group: str, family: str, ordinal: int) -> str:
    """The name of a pool."""
    return f"{group}-{family}-{keyed_hash(b'botshard.pool.v1', f'{family}{chr(10)}{ordinal}'.encode()).hex()[:6]}"


def order(shard: int, bits: int, pools: list[str]) -> list[str]:
    """The rendezvous order of a shard's pools."""
    lowest = (shard * 2 ** (64 - bits)).to_bytes(8, "big")
    by_name = sorted(pools, key=lambda name: name.encode())
    return sorted(by_name, key=lambda name: -int(keyed_hash(b"botshard.order.v1", lowest + name.encode()).hex(), 16))


def lookup(table: bytes, bot_id: str, properties: dict[str, str]) -> tuple[int | None, list[str], list[str]]:
    """Shard, pools to ask and pools that answer (section 1, steps 1 to 5)."""
    written = "".join(f"{byte:08b}" for byte in keyed_hash(b"botshard.bot.v1", bot_id.encode()))
    names = ("group", "framework", "backbone", "pin")
    for family in json.loads(table)["families"]:
        if [family.get(name) for name in names] == [properties.get(name) for name in names]:
            shard = int("0" + written[: family["bits"]], 2)
            return shard, _names(family, family["shards"][shard]), _answering(family, shard)
    return None, [], []


def _answering(family: dict[str, Any], shard: int) -> list[str]:
    sets = [family["shards"][shard]]
    target, linger = (family.get(place, {}).get(str(shard)) for place in ("targets", "lingering"))
    sets += [target["pools"]] if target and target["since"] > 0 else []
    sets += [linger["pools"]] if linger else []
    return _names(family, [index for indices in sets for index in indices])


def _names(family: dict[str, Any], indices: list[int]) -> list[str]:
    return list(dict.fromkeys(family["pools"][index]["name"] for index in indices))
