"""Makes real ONNX models, good and hostile: `python -m tests.bots.onnx_models FOLDER`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

_WEIGHTS = np.arange(8, dtype=np.float32).reshape(4, 2)
Change = Callable[[Any], object]


def tabular() -> tuple[Any, Any]:
    """Rows of eight numbers, and which of three classes each is."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 8)).astype(np.float32)
    return rows, (rows[:, 0] + rows[:, 1] > 0).astype(int) + (rows[:, 2] > 1)


def estimators() -> dict[str, Any]:
    """Estimators of scikit-learn that take `tabular`."""
    return {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "boosted": GradientBoostingClassifier(n_estimators=20, random_state=0),
        "histograms": HistGradientBoostingClassifier(max_iter=20, random_state=0),
        "forest": RandomForestClassifier(n_estimators=10, random_state=0),
        "regression": HistGradientBoostingRegressor(max_iter=20, random_state=0),
    }


TEXTS = ["hello there", "good morning", "bye now", "see you later"] * 8
TEXT_LABELS = ["greeting", "greeting", "farewell", "farewell"] * 8


def write_estimators(folder: Path) -> dict[str, Any]:
    """Models of scikit-learn, as `<name>.onnx`; the fitted estimators by name."""
    rows, classes = tabular()
    fitted = {name: estimator.fit(rows, classes) for name, estimator in estimators().items()}
    for name, estimator in fitted.items():
        options = None if name == "regression" else {"zipmap": False}
        _save(to_onnx(estimator, rows[:1], options=options), folder / f"{name}.onnx")
    _save(to_onnx(fitted["logistic"], rows[:1]), folder / "zipmap.onnx")
    text = make_pipeline(TfidfVectorizer(lowercase=False), LogisticRegression()).fit(TEXTS, TEXT_LABELS)
    kinds = [("text", StringTensorType([None, 1]))]
    _save(to_onnx(text, initial_types=kinds, options={"zipmap": False}), folder / "text.onnx")
    columns = ColumnTransformer(
        [("city", OneHotEncoder(handle_unknown="ignore"), [0]), ("numbers", "passthrough", [1])]
    )
    mixed = np.array([["Rome", 1], ["Oslo", 2], ["Rome", 3], ["Oslo", 4]], dtype=object)
    table = make_pipeline(columns, LogisticRegression()).fit(mixed, [0, 1, 0, 1])
    kinds = [("city", StringTensorType([None, 1])), ("number", FloatTensorType([None, 1]))]
    _save(to_onnx(table, initial_types=kinds, options={"zipmap": False}), folder / "columns.onnx")
    return {**fitted, "text": text, "columns": table}


def linear(
    nodes: Sequence[Any] | None = None,
    *,
    batch: int | str = "batch",
    output: Any = None,
    stored: Sequence[Any] | None = None,
    opset: int = 17,
    ir_version: int = 8,
    **more: Any,
) -> Any:
    """`y = x · weight`, four numbers in and two out, changed."""
    weight = numpy_helper.from_array(_WEIGHTS, "weight")
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [output or helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2])],
        [weight] if stored is None else stored,
    )
    opsets = [helper.make_opsetid("", opset), *more.pop("opsets", [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, **more)


def external(location: str, **places: str) -> Any:
    """The linear model with its weights somewhere else."""
    model = linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **places}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def nested(depth: int) -> Any:
    """An `If` in an `If` in an `If`."""
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = innermost = helper.make_graph([helper.make_node("MatMul", ["x", "weight"], ["y"])], "innermost", [], out)
    condition = numpy_helper.from_array(np.array(True), "condition")
    for _ in range(depth):
        node = helper.make_node("If", ["condition"], ["y"], then_branch=graph, else_branch=innermost)
        graph = helper.make_graph([node], "outer", [], out)
    return linear([graph.node[0]], stored=[numpy_helper.from_array(_WEIGHTS, "weight"), condition])


def write_answers(folder: Path) -> None:
    """Models of scikit-learn with what scikit-learn itself answers, in `<name>.json`, for rows of `rows.json`."""
    fitted = write_estimators(folder)
    rows = tabular()[0][:20]
    questions: dict[str, Any] = {"text": TEXTS[:4], "columns": np.array([["Rome", 1], ["Oslo", 4]], dtype=object)}
    (folder / "rows.json").write_text(json.dumps(rows.tolist()))
    for name, estimator in fitted.items():
        question = questions.get(name, rows)
        answers = {"label": estimator.predict(question).tolist()}
        if hasattr(estimator, "predict_proba"):
            answers["probabilities"] = estimator.predict_proba(question).tolist()
        (folder / f"{name}.json").write_text(json.dumps(answers))


def write_models(folder: Path) -> None:
    """Good ones, then one for everything that is refused."""
    write_answers(folder)
    own = helper.make_opsetid("com.acme", 1)
    microsoft = helper.make_opsetid("com.microsoft", 1)
    identity = helper.make_node("Identity", ["x"], ["y"])
    function = helper.make_function("com.acme", "Own", ["x"], ["y"], [identity], [helper.make_opsetid("", 17)])
    trees = to_onnx(HistGradientBoostingRegressor(max_iter=2).fit(*tabular()), tabular()[0][:1])
    _set_attribute(trees.graph.node[0], "n_targets", 1_000_000_000)
    sequence = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    models: dict[str, Any] = {
        "linear": linear(),
        "nested": nested(3),
        "beside": external("weights.bin"),
        "own-domain": linear([helper.make_node("Own", ["x"], ["y"], domain="com.acme")], opsets=[own]),
        "runtimes-own": linear(
            [helper.make_node("RotaryEmbedding", ["x"], ["y"], domain="com.microsoft")], opsets=[microsoft]
        ),
        "no-version": linear([helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml")]),
        "functions": linear(
            [helper.make_node("Own", ["x"], ["y"], domain="com.acme")], opsets=[own], functions=[function]
        ),
        "new-ir": linear(ir_version=99),
        "old-ir": linear(ir_version=1),
        "new-opset": linear(opset=999),
        "old-opset": linear(opset=2),
        "up": external("../weights.bin"),
        "absolute": external("/etc/hostname"),
        "hidden": external(".ssh/id_rsa"),
        "nowhere": external("nowhere.bin"),
        "linked": external("link.bin"),
        "behind": external("weights.bin", offset="8", length="32"),
        "no-number": external("weights.bin", offset="-1"),
        "deep": nested(20),
        "sequence": linear([helper.make_node("SequenceConstruct", ["x"], ["y"])], output=sequence),
        "bfloat": linear(
            [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)],
            output=helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["batch", 4]),
        ),
        "many-targets": trees,
        "one-row": linear(batch=1),
        "deep-network": deep(),
        "unknown": linear([helper.make_node("Nonsense", ["x"], ["y"])]),
        "small-numbers": _small_numbers(),
        **mixing(),
    }
    for name, model in models.items():
        _save(model, folder / f"{name}.onnx")
    packed = linear()
    convert_model_to_external_data(packed, location="packed.bin", size_threshold=0)
    onnx.save(packed, str(folder / "packed.onnx"))
    (folder / "weights.bin").write_bytes(_WEIGHTS.tobytes())
    (folder / "link.bin").symlink_to(folder / "weights.bin")
    good = linear().SerializeToString()
    (folder / "cut.onnx").write_bytes(good[: len(good) // 2])
    (folder / "twice.onnx").write_bytes(good + good)
    (folder / "text-file.onnx").write_bytes(b"an ONNX model, honestly\n")
    (folder / "empty.onnx").write_bytes(b"")


def mixing() -> dict[str, Any]:
    """Graphs whose rows depend on each other, with first dimensions as free as those of any other."""
    first = numpy_helper.from_array(np.array([0]), "first")
    flat = numpy_helper.from_array(np.array([-1]), "flat")
    wide = numpy_helper.from_array(np.array([-1, 2]), "wide")
    halves = numpy_helper.from_array(np.array([[0.5, 0.5]] * 3, dtype=np.float32), "halves")
    weight = numpy_helper.from_array(_WEIGHTS, "weight")
    product = helper.make_node("MatMul", ["x", "weight"], ["z"])
    columns = helper.make_node("ReduceMean", ["z"], ["m"], axes=[0])
    return {
        "centred": linear([product, columns, helper.make_node("Sub", ["z", "m"], ["y"])]),
        "share-of-batch": linear([product, helper.make_node("Softmax", ["z"], ["y"], axis=0)]),
        "running-sum": linear([product, helper.make_node("CumSum", ["z", "first"], ["y"])], stored=[weight, first]),
        "reversed": linear(
            [product, helper.make_node("Gather", ["z", "first"], ["f"]), helper.make_node("Add", ["z", "f"], ["y"])],
            stored=[weight, first],
        ),
        "flattened": linear(
            [
                product,
                helper.make_node("Reshape", ["z", "flat"], ["f"]),
                helper.make_node("Softmax", ["f"], ["s"], axis=0),
                helper.make_node("Reshape", ["s", "wide"], ["y"]),
            ],
            stored=[weight, flat, wide],
        ),
        "three-rows": linear([product, helper.make_node("Add", ["z", "halves"], ["y"])], stored=[weight, halves]),
        "by-each-other": linear(
            [
                product,
                helper.make_node("Transpose", ["z"], ["t"], perm=[1, 0]),
                helper.make_node("MatMul", ["z", "t"], ["s"]),
                helper.make_node("MatMul", ["s", "z"], ["y"]),
            ]
        ),
    }


def deep() -> Any:
    """A network whose rows do not: layers, a norm, a softmax, a reduction, an embedding's table."""
    rng = np.random.default_rng(1)
    stored = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in {"w": (4, 8), "b": (8,), "scale": (8,), "shift": (8,), "v": (8, 2)}.items()
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("LayerNormalization", ["h", "scale", "shift"], ["n"], axis=-1),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("ReduceMax", ["r"], ["m"], axes=[1]),
        helper.make_node("Sub", ["r", "m"], ["d"]),
        helper.make_node("MatMul", ["d", "v"], ["u"]),
        helper.make_node("Softmax", ["u"], ["y"], axis=-1),
    ]
    return linear(nodes, stored=stored)


def _small_numbers() -> Any:
    """Whole numbers of 32 bits, as they came."""
    kind = TensorProto.INT32
    values = [helper.make_tensor_value_info(name, kind, ["batch", 1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _set_attribute(node: Any, name: str, value: int) -> None:
    for attribute in node.attribute:
        if attribute.name == name:
            attribute.i = value


def _save(model: Any, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    write_models(Path(sys.argv[1]))
