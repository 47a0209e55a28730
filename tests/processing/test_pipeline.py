"""From a declaration to something that runs, and everything that is wrong with it at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Tensor
from botshard.processing import ModelOutputError
from botshard.processing.frame import MAX_TEXT_CHARS
from botshard.processing.parameters import fields_of
from botshard.processing.registry import all_steps, step_names
from botshard.processing.step import Phase
from botshard.sharding.catalog import TensorSpec
from botshard.sharding.errors import InvalidDocumentError
from tests.processing.running import TEXT, pipeline, problems

_HASH = {"step": "hash-ngrams", "features": 16, "words": [1, 1]}
_LABEL = {"step": "label", "labels": ["yes", "no"]}
_REFERENCE = Path(__file__).parents[2] / "docs" / "processing.md"


def test_a_bot_without_steps_passes_tensors_through() -> None:
    """Inputs go to the model and outputs to the client as they are."""
    inputs = [TensorSpec("x", "FP32", (-1, 2)), TensorSpec("t", "BYTES", (-1, 1))]
    compiled = pipeline(inputs=inputs, outputs=[TensorSpec("y", "INT64", (-1,))])
    request = {"x": Tensor.of("x", np.ones((2, 2), np.float32)), "t": Tensor.of("t", [b"\xff", b""])}
    given = compiled.before(request)
    assert given["x"] is request["x"].data
    assert given["t"].tolist() == [[b"\xff"], [b""]]
    assert compiled.model_inputs == tuple(inputs)
    made = compiled.after({"whatever": np.array([3, 4])}, request)
    assert made["y"].numpy().tolist() == [3, 4]


def test_outputs_come_in_the_declared_order_and_form() -> None:
    """Names, order, datatypes and shapes are those of the declaration, not of the model."""
    outputs = [TensorSpec("b", "FP64", (-1, 1)), TensorSpec("a", "BYTES", (-1, 2)), TensorSpec("c", "INT32", (-1,))]
    compiled = pipeline(outputs=outputs)
    given = {
        "a": np.array([["x", "y"]], dtype=object),
        "b": np.array([0.5], np.float32),
        "c": np.array([[7]], np.int64),
        "d": np.zeros(1),
    }
    made = compiled.after(given, {"text": Tensor.of("text", ["?"])})
    assert [(tensor.name, tensor.datatype, tensor.shape) for tensor in made.values()] == [
        ("b", "FP64", (1, 1)),
        ("a", "BYTES", (1, 2)),
        ("c", "INT32", (1,)),
    ]
    assert made["a"].data == [b"x", b"y"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"z": np.zeros((2, 2)), "q": np.zeros(2)}, "no output 'y'; it has z, q", id="no such output"),
        pytest.param({"y": np.zeros((2, 3), np.float32)}, r"declared \[-1, 2\], but for 2 rows", id="width"),
        pytest.param({"y": np.zeros((1, 2), np.float32)}, "for 2 rows the model gives .1, 2.", id="rows"),
        pytest.param({"y": np.zeros((), np.float32)}, r"the model gives \[\]", id="scalar"),
        pytest.param({"y": np.array([["a", "b"]] * 2)}, "declared FP32, but the model gives", id="texts"),
        pytest.param({"y": np.zeros((2, 2), np.complex64)}, "gives complex64", id="complex"),
    ],
)
def test_a_model_that_gives_something_else_is_at_fault(given: dict[str, np.ndarray], message: str) -> None:
    """Outputs that cannot be what is declared are a ModelOutputError."""
    compiled = pipeline(outputs=[TensorSpec("y", "FP32", (-1, 2))])
    with pytest.raises(ModelOutputError, match=message):
        compiled.after(given, {"text": Tensor.of("text", ["a", "b"])})


def test_numbers_are_no_texts() -> None:
    """A model that gives numbers for a BYTES output is at fault."""
    with pytest.raises(ModelOutputError, match="declared BYTES, but the model gives float64"):
        pipeline(outputs=[TensorSpec("y", "BYTES", (-1, 1))]).after(
            {"y": np.zeros((1, 1))}, {"text": Tensor.of("text", ["a"])}
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(b"ab\xff", "input 'text': text must be UTF-8; byte 2 of row 1 is not", id="not UTF-8"),
        pytest.param(b"a" * (MAX_TEXT_CHARS + 1), "input 'text': the text of row 1 has 16385 characters", id="long"),
    ],
)
def test_a_text_that_steps_cannot_take_is_the_clients_mistake(text: bytes, message: str) -> None:
    """The refusal names tensor and row."""
    request = {"text": Tensor.of("text", [b"fine", text])}
    with pytest.raises(InvalidInputError, match=message) as refused:
        pipeline([_HASH]).before(request)
    assert refused.value.tensor == "text"


def test_a_text_may_become_several_tensors_beside_others() -> None:
    """Two vectorisers with names of their own feed one model, inputs without steps stay as they are."""
    inputs = [*TEXT, TensorSpec("age", "FP32", (-1, 1)), TensorSpec("raw", "BYTES", (-1, 1))]
    steps: list[dict[str, object]] = [
        {"step": "normalize", "input": "text"},
        {**_HASH, "input": "text", "into": "bag"},
        {"step": "tokenize", "terms": ["hi"], "length": 2, "input": "text", "into": "ids"},
    ]
    compiled = pipeline(steps, inputs=inputs)
    request = {
        "text": Tensor.of("text", ["Hi"]),
        "age": Tensor.of("age", np.array([[7]], np.float32)),
        "raw": Tensor.of("raw", ["Hi"]),
    }
    given = compiled.before(request)
    assert list(given) == [spec.name for spec in compiled.model_inputs] == ["age", "raw", "bag", "ids"]
    assert given["ids"].tolist() == [[2, 0]]
    assert given["raw"].tolist() == [[b"Hi"]]


def test_a_text_that_is_not_vectorised_goes_to_the_model_as_text() -> None:
    """A model that takes text gets it as far as it was processed, in the input's shape."""
    compiled = pipeline([{"step": "normalize"}], inputs=[TensorSpec("text", "BYTES", (-1,))])
    request = {"text": Tensor("text", "BYTES", (2,), [b"A", "É".encode()])}
    assert compiled.before(request)["text"].tolist() == [b"a", "é".encode()]


def test_everything_wrong_is_found_at_once() -> None:
    """Every step is checked, whatever is wrong with others; what follows from a refused step is not counted."""
    preprocess = [
        "normalize",
        {"step": "normalise"},
        {},
        {"step": "softmax"},
        {"step": "hash-ngrams", "feature": 16, "words": [1, 1]},
        {"step": "regex-replace", "pattern": "(?=a)", "with": ""},
    ]
    postprocess = [{"step": "label", "labels": []}, {"step": "threshold", "min": 0, "fallback": "x"}]
    assert [problem.split(":")[0] for problem in problems(preprocess, postprocess)] == [
        "preprocess[0]",
        "preprocess[1].step",
        "preprocess[2].step",
        "preprocess[3].step",
        "preprocess[4].features",
        "preprocess[4].feature",
        "preprocess[5].pattern",
        "postprocess[0].labels",
    ]


def test_names_that_are_nearly_right_are_suggested() -> None:
    """A misspelt step or parameter comes with the one that was probably meant."""
    assert "; did you mean normalize?" in problems([{"step": "normalise"}])[0]
    assert "; did you mean weights?" in problems([{**_HASH, "weight": "log"}])[0]


@pytest.mark.parametrize(
    ("inputs", "steps", "wanted"),
    [
        pytest.param(
            [TensorSpec("x", "FP32", (-1, 2))],
            [_HASH],
            "preprocess[0].input: must be the name of a BYTES input (the bot declares none)",
            id="no text",
        ),
        pytest.param(
            [TensorSpec("a", "BYTES", (-1, 1)), TensorSpec("b", "BYTES", (-1, 1))],
            [_HASH],
            "preprocess[0].input: must be the name of a BYTES input (a, b), found nothing",
            id="which text",
        ),
        pytest.param(
            TEXT, [{**_HASH, "input": "q"}], "preprocess[0].input: must be the name of a BYTES input (text)", id="name"
        ),
        pytest.param(
            [TensorSpec("text", "BYTES", (-1, 3))],
            [{"step": "normalize"}, _HASH],
            "inputs[0].shape: must be [-1, 1] or [-1]: steps take one text a row, found [-1, 3]",
            id="several texts a row",
        ),
        pytest.param(
            TEXT,
            [_HASH, {"step": "normalize"}],
            "preprocess[1]: must be before the step that makes 'text' a tensor",
            id="text after its tensor",
        ),
        pytest.param(
            TEXT,
            [{**_HASH, "into": "x"}, {**_HASH, "into": "x"}],
            "preprocess[1].into: must be a name of its own",
            id="two of a name",
        ),
        pytest.param(
            [*TEXT, TensorSpec("x", "FP32", (-1, 2))],
            [{**_HASH, "into": "x"}],
            "preprocess[0].into: must be a name of its own",
            id="the name of an input",
        ),
    ],
)
def test_a_chain_that_does_not_fit_is_refused(
    inputs: list[TensorSpec], steps: list[dict[str, object]], wanted: str
) -> None:
    """Steps must find the texts that they work on, and tensors need names of their own."""
    (problem,) = problems(steps, inputs=inputs)
    assert problem.startswith(wanted)


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        pytest.param(("labl", "BYTES", (-1, 1)), "outputs[0].name: must be a column that a postprocess", id="name"),
        pytest.param(("label", "FP32", (-1, 1)), "outputs[0].datatype: must be BYTES", id="datatype"),
        pytest.param(("score", "INT8", (-1, 1)), "outputs[0].datatype: must be FP16 or FP32 or FP64", id="integer"),
        pytest.param(("label", "BYTES", (-1, 2)), "outputs[0].shape: must be [-1, 1] or [-1]", id="width"),
        pytest.param(("score", "FP32", (-1, 1, 1)), "outputs[0].shape: must be [-1, 1] or [-1]", id="rank"),
        pytest.param(("probabilities", "FP32", (-1,)), "outputs[0].shape: must be [-1, 2]", id="one a row"),
    ],
)
def test_outputs_that_the_steps_do_not_make_are_refused(output: tuple[str, str, tuple[int, ...]], wanted: str) -> None:
    """Declared outputs are compared with what the steps make."""
    (problem,) = problems(postprocess=[{"step": "softmax"}, _LABEL], outputs=[TensorSpec(*output)])
    assert problem.startswith(wanted)


def test_what_was_refused_does_not_compile() -> None:
    """A replica refuses what publish would have refused, with every problem."""
    with pytest.raises(InvalidDocumentError, match=r"bot b: preprocess\[0\].features: must be there") as refused:
        pipeline([{"step": "hash-ngrams"}, {"step": "nothing"}])
    assert len(refused.value.problems) == 2


def test_files_are_checked_by_name_before_they_are_there(tmp_path: Path) -> None:
    """Without a reader only the names of files are checked; a replica reads them from the folder and no other."""
    step = {"step": "label", "labels": {"file": "labels.txt"}}
    outputs = [TensorSpec("label", "BYTES", (-1, 1))]
    assert problems(postprocess=[step], outputs=outputs, files={"labels.txt": b"a\nb"}) == []
    with pytest.raises(InvalidDocumentError, match=r"labels.file: must be a file of the bot's folder"):
        pipeline(postprocess=[step], outputs=outputs, folder=tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    pipeline(postprocess=[step], outputs=outputs, folder=tmp_path)


def test_every_step_is_found_and_described() -> None:
    """The registry has all steps of the reference, and the reference all steps with all parameters."""
    text = _REFERENCE.read_text("utf-8")
    described = [line.removeprefix("### `").rstrip("`") for line in text.splitlines() if line.startswith("### `")]
    assert sorted(described) == sorted(all_steps())
    assert sorted([*step_names(Phase.PRE), *step_names(Phase.POST)]) == sorted(all_steps())
    sections = dict(zip(described, text.split("\n### `")[1:], strict=True))
    for name, step in all_steps().items():
        for field in fields_of(step.parameters):
            assert f"| `{field}` |" in sections[name], f"{name}.{field} is not described"


def test_frameworks_are_not_imported() -> None:
    """Processing costs no import of a framework."""
    code = (
        "import sys, botshard.processing, botshard.processing.registry as r; r.all_steps(); "
        "print(sorted({'torch', 'tensorflow', 'keras', 'fastapi', 'kserve'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
