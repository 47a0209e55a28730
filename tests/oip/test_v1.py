"""The V1 protocol maps onto the same tensors."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.oip.errors import InvalidInputError, UnencodableOutputError
from botshard.oip.tensors import Tensor
from botshard.oip.v1 import decode_v1, encode_v1, encode_v1_request
from botshard.sharding.catalog import TensorSpec
from tests.oip.strategies import FUZZ

_TEXT = (TensorSpec("text", "BYTES", (-1, 1)),)
_X = (TensorSpec("x", "FP32", (-1, 2)),)
_BOTH = (*_TEXT, *_X)


@pytest.mark.parametrize(
    "instances",
    [
        pytest.param(["a", "b"], id="alone"),
        pytest.param([["a"], ["b"]], id="in arrays"),
        pytest.param([{"text": "a"}, {"text": "b"}], id="in objects"),
        pytest.param([{"text": ["a"]}, {"text": ["b"]}], id="in both"),
    ],
)
def test_texts_may_stand_alone_or_in_objects(instances: list[object]) -> None:
    """All the ways to write a row of one text mean the same."""
    tensor = decode_v1(encode_v1_request(instances), inputs=_TEXT).inputs["text"]
    assert (tensor.shape, tensor.data) == ((2, 1), [b"a", b"b"])


@pytest.mark.parametrize(
    ("shape", "instances"),
    [
        pytest.param((-1, 2), [[1, 2], [3, 4]], id="rows"),
        pytest.param((-1,), [1, 2, 3], id="no inner dimension"),
        pytest.param((-1, 1, 1), [1, 2], id="inner dimensions of one"),
        pytest.param((-1, -1, 2), [[[1, 2], [3, 4], [5, 6]]], id="free inner dimension"),
    ],
)
def test_numbers_take_the_shape_of_their_nesting(shape: tuple[int, ...], instances: list[object]) -> None:
    """Nested arrays give the tensor's shape, which must fit the declaration."""
    tensor = decode_v1(encode_v1_request(instances), inputs=[TensorSpec("x", "INT64", shape)]).inputs["x"]
    np.testing.assert_array_equal(tensor.numpy().ravel(), np.array(instances).ravel())
    assert len(tensor.shape) == len(shape)


def test_several_inputs_are_an_object_a_row() -> None:
    """A bot with several inputs takes one object a row, with exactly their names."""
    body = encode_v1_request([{"x": [1, 2], "text": "a"}, {"text": "b", "x": [3, 4]}])
    request = decode_v1(body, inputs=_BOTH)
    assert list(request.inputs) == ["text", "x"]
    assert request.inputs["x"].numpy().tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b'{"inputs": []}', "instances must be an array", id="no instances"),
        pytest.param(b'{"instances": []}', "at least one row", id="no rows"),
        pytest.param(b'{"instances": "a"}', "instances must be an array", id="text"),
        pytest.param(b'{"instances": ["a"]}', r"instances\[0\] must be an object with exactly text, x", id="no object"),
        pytest.param(b'{"instances": [{"text": "a"}]}', "exactly text, x", id="one missing"),
        pytest.param(b'{"instances": [{"text": "a", "x": [1, 2], "y": 1}]}', "exactly text, x", id="one too many"),
        pytest.param(b'{"instances": [{"text": 1, "x": [1, 2]}]}', "input 'text': data of BYTES must", id="number"),
        pytest.param(b'{"instances": [{"text": "a", "x": [1]}]}', "input 'x': shape", id="shape"),
        pytest.param(
            b'{"instances": [{"text":"a","x":[1,2]},{"text":"a","x":[1]}]}', "input 'x': data is not", id="ragged"
        ),
        pytest.param(b'{"instances": [{"text":"a","x":' + b"[" * 90 + b"]" * 90 + b"}]}", "input 'x'", id="deep"),
        pytest.param(b'{"instances": [{"text":"a","x":[]}]}', "input 'x'", id="empty row"),
    ],
)
def test_wrong_instances_are_refused(body: bytes, message: str) -> None:
    """Mistakes are named as for the newer protocol."""
    with pytest.raises(InvalidInputError, match=message):
        decode_v1(body, inputs=_BOTH)


@FUZZ
@given(
    value=st.recursive(st.none() | st.text(max_size=2) | st.integers(-9, 9), lambda inner: st.lists(inner, max_size=3))
)
def test_any_instances_are_refused_or_fit(value: object) -> None:
    """Whatever the instances, the result fits the declaration or is refused."""
    try:
        tensor = decode_v1(orjson.dumps({"instances": value}), inputs=_X).inputs["x"]
    except InvalidInputError:
        return
    assert tensor.shape[1:] == (2,)


def test_one_output_gives_its_rows_values() -> None:
    """The predictions of a bot with one output are that output's rows, single elements without arrays."""
    assert orjson.loads(encode_v1({"label": Tensor.of("label", ["a", "b"])})) == {"predictions": ["a", "b"]}
    numbers = Tensor.of("p", np.array([[0.1, 0.9], [0.5, 0.5]], dtype=np.float32))
    assert encode_v1({"p": numbers}) == b'{"predictions":[[0.1,0.9],[0.5,0.5]]}'


def test_several_outputs_give_objects() -> None:
    """The predictions of a bot with several outputs are objects."""
    outputs = {
        "label": Tensor.of("label", ["a"]),
        "top": Tensor.of("top", np.array([["a", "b"]], dtype=object)),
        "p": Tensor.of("p", np.array([[0.5]], dtype=np.float32)),
        "v": Tensor.of("v", np.array([[[1, 2], [3, 4]]])),
    }
    assert orjson.loads(encode_v1(outputs)) == {
        "predictions": [{"label": "a", "top": ["a", "b"], "p": 0.5, "v": [[1, 2], [3, 4]]}]
    }


def test_what_json_cannot_say_is_refused() -> None:
    """V1 has no binary form, so NaN cannot be answered."""
    with pytest.raises(UnencodableOutputError, match="'p'"):
        encode_v1({"p": Tensor.of("p", np.array([[np.nan]]))})
