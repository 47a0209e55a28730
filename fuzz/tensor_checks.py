"""What must hold for any bytes that are read as tensors, and for any tensors that are written.

Only the errors that mean "your request is wrong" may come out; the short way through a bot's codec must say what the
long one says, to the byte; what was read must be what Python's own parser and numpy make of it; what is written must
be readable and mean the same; nothing inflates beyond its limit.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from botshard.oip.client import decode_response
from botshard.oip.codec import Codec
from botshard.oip.content import decompress
from botshard.oip.errors import BodyTooLargeError, InvalidInputError, UnencodableOutputError
from botshard.oip.rest import InferenceRequest, RequestedOutput, decode_request, encode_response
from botshard.oip.tensors import DATATYPES, Tensor
from botshard.oip.v1 import decode_v1, encode_v1
from botshard.sharding.catalog import TensorSpec
from fuzz.draws import Draws

__all__ = ["SPECS", "assert_fits", "check", "drawn_tensor", "is_same"]

SPECS: Sequence[tuple[TensorSpec, ...]] = (
    (TensorSpec("x", "FP32", (-1, 4)),),
    (TensorSpec("text", "BYTES", (-1, 1)),),
    (TensorSpec("x", "FP64", (-1, -1)),),
    (TensorSpec("x", "FP16", (-1, 3)),),
    (TensorSpec("x", "BF16", (-1, 2)),),
    (TensorSpec("x", "FP32", (-1, 2, 2)),),
    (TensorSpec("x", "UINT8", (-1,)),),
    (TensorSpec("n", "INT64", (-1, 2)), TensorSpec("b", "BOOL", (-1, 1)), TensorSpec("text", "BYTES", (-1,))),
)
"""What bots declare."""
_LIMIT_BYTES = 1 << 16
_ODD_VALUES: Sequence[Any] = (
    *(1, 0, -1, True, False, None, "", "é", 1.5, 1e40, -1e308, 1e400, 2**31, 2**63, 2**64, -(2**63), 2**200),
    *([], {}, [1], 3.4028235e38, 3.4028236e38, 1e-46, 65504, 65520, "\x00", 0.1, -0.0),
)
_ODD_SHAPES: Sequence[Any] = (None, [], [0, 4], [-1, 4], [1], [1.0, 4], [True, 4], [2**40, 4], "1", [1, 4, 1], [[1], 4])


def check(data: bytes) -> None:
    """One input. Raises: AssertionError, or whatever defect there is."""
    draws = Draws(data)
    draws.one_of(_WAYS)(draws)


def _raw_body(draws: Draws) -> None:
    specs = draws.one_of(SPECS)
    _read(specs, draws.rest())


def _built_body(draws: Draws) -> None:
    specs = draws.one_of(SPECS)
    body = orjson.dumps(_finite(_document(draws, specs)))
    if draws.sometimes():
        at = draws.number() % (len(body) + 1)
        body = body[:at] + draws.take(4) + body[at + draws.byte() % 4 :]
    _read(specs, body)


def _binary_body(draws: Draws) -> None:
    """JSON, then binary tensors, whose sizes are mostly right."""
    specs = draws.one_of(SPECS)
    rows = 1 + draws.byte() % 3
    entries, tail = [], b""
    for spec in specs:
        shape = [rows, *(abs(size) for size in spec.shape[1:])]
        count = int(np.prod(shape))
        raw = _binary(draws, spec.datatype, count)
        tail += raw
        size = len(raw) + (draws.byte() - 128 if draws.sometimes() else 0)
        entry = {"name": spec.name, "datatype": spec.datatype, "shape": shape}
        entries.append({**entry, "parameters": {"binary_data_size": size}})
    head = orjson.dumps({"inputs": entries, "parameters": {"binary_data_output": draws.sometimes(2)}})
    length = len(head) + (draws.byte() - 128 if draws.sometimes() else 0)
    _read(specs, head + tail, header_length=max(length, 0))


def _v1_body(draws: Draws) -> None:
    specs = draws.one_of(SPECS)
    if draws.sometimes(3):
        body = draws.rest()
    else:
        instances: list[Any] = []
        for _ in range(draws.byte() % 4):
            values = {spec.name: _nested(draws, spec) for spec in specs}
            instances.append(values if len(specs) > 1 or draws.sometimes() else values[specs[0].name])
        body = orjson.dumps(_finite({"instances": instances}))
    try:
        request = decode_v1(body, inputs=specs)
    except InvalidInputError:
        return
    assert_fits(request, specs)
    try:
        orjson.loads(encode_v1(request.inputs))
    except UnencodableOutputError:
        assert any(spec.datatype in {"BF16", "BYTES"} for spec in specs)


def _compressed_body(draws: Draws) -> None:
    encoding = draws.one_of(["gzip", "deflate", "x-gzip", "identity", "br", "GZIP ", ""])
    plain = draws.take(draws.byte()) * (1 + draws.byte() * draws.byte())
    wbits = draws.one_of([16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS])
    deflate = zlib.compressobj(1, zlib.DEFLATED, wbits)
    body = draws.rest() if draws.sometimes(3) else deflate.compress(plain) + deflate.flush()
    if draws.sometimes(3):
        body = body[: draws.number() % (len(body) + 1)] + draws.rest()
    try:
        inflated = decompress(body, encoding, _LIMIT_BYTES)
    except BodyTooLargeError:
        return
    except InvalidInputError:
        return
    if encoding in {"identity", ""}:
        assert inflated == body
        return
    assert len(inflated) <= _LIMIT_BYTES
    if encoding == "gzip":
        assert bytes(inflated) == gzip.decompress(body)


def _written(draws: Draws) -> None:
    """An answer: by the short way and by the long one, and what a client reads in it."""
    specs = draws.one_of(SPECS)
    rows = 1 + draws.byte() % 3
    outputs = {spec.name: drawn_tensor(draws, spec, rows) for spec in specs}
    wanted = tuple(RequestedOutput(spec.name, draws.one_of([None, True, False])) for spec in specs)
    request = InferenceRequest(
        {}, draws.one_of([None, "", "7", "\u2028é"]), {}, wanted if draws.sometimes(2) else (), draws.sometimes(3)
    )
    codec = Codec(specs, specs, model_name="bot", model_version="1")
    long = _result(lambda: encode_response(outputs, model_name="bot", model_version="1", request=request))
    assert _result(lambda: codec.encode(outputs, request)) == long
    if isinstance(long, str):
        return
    answer = decode_response(long.body, header_length=long.header_length)
    assert answer.id == request.id
    for spec in specs:
        given, read = outputs[spec.name], answer.outputs[spec.name]
        assert (read.datatype, read.shape) == (given.datatype, given.shape)
        assert is_same(given.data, read.data), (given, read)


_WAYS: Sequence[Callable[[Draws], None]] = (
    _built_body,
    _raw_body,
    _binary_body,
    _v1_body,
    _compressed_body,
    _written,
)


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read(specs: Sequence[TensorSpec], body: bytes, *, header_length: int | None = None) -> None:
    """By a bot's codec and by the function that it abbreviates."""
    codec = Codec(specs, specs, model_name="bot", model_version="1")
    long = _result(lambda: decode_request(body, inputs=specs, outputs=specs, header_length=header_length))
    short = _result(lambda: codec.decode(body, header_length))
    if isinstance(long, str) or isinstance(short, str):
        assert long == short, (long, short)
        return
    assert (short.id, short.parameters, short.outputs) == (long.id, long.parameters, long.outputs)
    assert short.wants_binary == long.wants_binary
    assert list(short.inputs) == list(long.inputs)
    for name, tensor in long.inputs.items():
        assert tensor[:3] == short.inputs[name][:3]
        assert is_same(tensor.data, short.inputs[name].data)
    assert_fits(long, specs)
    if header_length is None:
        _is_what_it_says(long, json.loads(body))


def assert_fits(request: InferenceRequest, specs: Sequence[TensorSpec]) -> None:
    """What the model gets is what the bot declares."""
    assert list(request.inputs) == [spec.name for spec in specs]
    assert len({tensor.rows for tensor in request.inputs.values()}) == 1
    for spec in specs:
        tensor = request.inputs[spec.name]
        assert tensor.datatype == spec.datatype
        assert len(tensor.shape) == len(spec.shape)
        assert all(size > 0 and wanted in {-1, size} for size, wanted in zip(tensor.shape, spec.shape, strict=True))
        if isinstance(tensor.data, list):
            assert len(tensor.data) == int(np.prod(tensor.shape))
            assert all(type(value) is bytes for value in tensor.data)
        else:
            assert tensor.data.shape == tensor.shape
            assert tensor.data.dtype == DATATYPES[spec.datatype]
            assert tensor.data.dtype.kind != "f" or np.isfinite(tensor.data).all()


def _is_what_it_says(request: InferenceRequest, document: Mapping[str, Any]) -> None:
    """The same as Python's own parser and numpy make of it."""
    for entry in document["inputs"]:
        tensor = request.inputs[entry["name"]]
        flat = _flat(entry["data"])
        if isinstance(tensor.data, list):
            assert tensor.data == [value.encode() for value in flat]
        else:
            with np.errstate(over="ignore"):
                assert is_same(tensor.data.ravel(), np.array([float(v) for v in flat]).astype(tensor.data.dtype)) or (
                    tensor.data.ravel().tolist() == flat
                )


def _flat(data: Any) -> list[Any]:
    return [value for item in data for value in _flat(item)] if isinstance(data, list) else [data]


def _result(work: Callable[[], Any]) -> Any:
    """What it gives, or the text of the error that it may raise."""
    try:
        return work()
    except (InvalidInputError, UnencodableOutputError) as error:
        return str(error)


def is_same(one: Any, other: Any) -> bool:
    """Whether values are equal, NaN with NaN too."""
    if isinstance(one, list) or isinstance(other, list):
        return bool(one == other)
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


# ── building ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _document(draws: Draws, specs: Sequence[TensorSpec]) -> dict[str, Any]:
    rows = 1 + draws.byte() % 3
    document: dict[str, Any] = {"inputs": [_entry(draws, spec, rows) for spec in specs]}
    if draws.sometimes():
        document["inputs"].append(draws.one_of([{}, None, document["inputs"][0], {"name": "other"}]))
    if draws.sometimes(4):
        document["id"] = draws.one_of(["7", None, 7, ""])
    if draws.sometimes(4):
        document["parameters"] = draws.one_of([{}, None, [], {"binary_data_output": True}, {"sequence_id": 1}])
    if draws.sometimes(4):
        names = [spec.name for spec in specs]
        flagged = {"name": names[0], "parameters": {"binary_data": draws.one_of([True, False, None, 1])}}
        document["outputs"] = draws.one_of([[{"name": name} for name in names], [], None, {}, [flagged]])
    return document


def _entry(draws: Draws, spec: TensorSpec, rows: int) -> dict[str, Any]:
    shape: Any = [rows, *(abs(size) for size in spec.shape[1:])]
    count = int(np.prod(shape))
    data: Any = [_value(draws, spec.datatype) for _ in range(count)]
    if draws.sometimes(4):
        data = [_nested(draws, spec) for _ in range(rows)]
    if draws.sometimes():
        shape = draws.one_of(_ODD_SHAPES)
    if draws.sometimes():
        data = draws.one_of([data[1:], [*data, 1], None, {}, "", [data], [[]], data * 2])
    entry = {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": data}
    if draws.sometimes():
        entry[draws.one_of(list(entry))] = draws.one_of(_ODD_VALUES)
    if draws.sometimes():
        entry["parameters"] = draws.one_of([{}, None, {"binary_data_size": 4}, {"binary_data_size": -1}, 7])
    if draws.sometimes(16):
        del entry[draws.one_of(list(entry))]
    return entry


def _nested(draws: Draws, spec: TensorSpec) -> Any:
    def build(sizes: Sequence[int]) -> Any:
        if not sizes:
            return _value(draws, spec.datatype)
        return [build(sizes[1:]) for _ in range(abs(sizes[0]))]

    return build(spec.shape[1:])


def _value(draws: Draws, datatype: str) -> Any:
    if draws.sometimes(16):
        return draws.one_of(_ODD_VALUES)
    if datatype == "BYTES":
        return draws.take(draws.byte() % 8).decode("latin-1")
    if datatype == "BOOL":
        return draws.sometimes(2)
    if DATATYPES[datatype].kind == "f":
        return (draws.number() - 32768) / (1 + draws.byte())
    return draws.byte()


def _binary(draws: Draws, datatype: str, count: int) -> bytes:
    if datatype == "BYTES":
        values = [draws.take(draws.byte() % 8) for _ in range(count)]
        return b"".join(len(value).to_bytes(4, "little") + value for value in values)
    size = count * (2 if datatype == "BF16" else DATATYPES[datatype].itemsize)
    raw = draws.take(size).ljust(size, b"\x00")
    return bytes(byte & 1 for byte in raw) if datatype == "BOOL" and not draws.sometimes() else raw


def drawn_tensor(draws: Draws, spec: TensorSpec, rows: int) -> Tensor:
    """One that fits, and as a model could give it: also with NaN and infinities."""
    shape = (rows, *(abs(size) for size in spec.shape[1:]))
    raw = _binary(draws, spec.datatype, int(np.prod(shape)))
    if spec.datatype == "BYTES":
        values, at = [], 0
        while at < len(raw):
            size = int.from_bytes(raw[at : at + 4], "little")
            values.append(raw[at + 4 : at + 4 + size])
            at += 4 + size
        return Tensor(spec.name, "BYTES", shape, values)
    if spec.datatype == "BF16":
        bits = np.frombuffer(raw, "<u2").astype("<u4") << 16
        return Tensor(spec.name, "BF16", shape, bits.view("<f4").reshape(shape))
    if spec.datatype == "BOOL":
        raw = bytes(byte & 1 for byte in raw)
    return Tensor(spec.name, spec.datatype, shape, np.frombuffer(raw, DATATYPES[spec.datatype]).reshape(shape))


def _finite(value: Any) -> Any:
    """Orjson writes neither whole numbers beyond 64 bits nor infinities: those are left out."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return None if type(value) is int and not -(2**63) <= value < 2**64 else value
