"""Makes real Keras and TensorFlow models, good and hostile: `python -m tests.bots.tensorflow_models FOLDER`."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

__all__ = ["main"]


def _text_model() -> Any:
    inputs = keras.Input((1,), dtype="string")
    words = keras.layers.TextVectorization(max_tokens=50, output_sequence_length=6)
    words.adapt(["a b c", "d e"])
    vectors = keras.layers.Embedding(50, 8, mask_zero=True)(words(inputs))
    mean = keras.layers.GlobalAveragePooling1D()(vectors) * 2.0
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", kernel_regularizer="l2")(mean))


def _sequential(*layers: Any) -> Any:
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2)])
    model.compile("adam", "mse")
    return model


@keras.saving.register_keras_serializable(package="acme")
class _Own(keras.layers.Layer):  # type: ignore[misc]
    """A class that only its author has."""

    def call(self, x: Any) -> Any:
        """As it is."""
        return x


def _wide_model() -> Any:
    """Layers of many kinds, so that what Keras commonly writes is known to be accepted."""
    x = inputs = keras.Input((6, 4))
    x = keras.layers.Conv1D(4, 2, padding="same", activation="relu")(x)
    x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(2, 2)(x, x))
    x = keras.layers.Concatenate()([keras.layers.Bidirectional(keras.layers.LSTM(3))(x), keras.layers.GRU(3)(x)])
    x = keras.layers.Dropout(0.1)(keras.layers.UnitNormalization()(x))
    return keras.Model(inputs, {"a": keras.layers.Dense(2)(x), "b": keras.ops.argmax(x, axis=-1)})


def _keras_files(folder: Path) -> None:
    _sequential(keras.layers.Dense(3, activation="gelu"), keras.layers.BatchNormalization()).save(folder / "good.keras")
    _text_model().save(folder / "text.keras")
    _wide_model().save(folder / "wide.keras")
    _sequential(keras.layers.Lambda(lambda x: x * 2)).save(folder / "lambda.keras")
    _sequential(_Own()).save(folder / "own-class.keras")
    _sequential().save(folder / "legacy.h5")
    good = folder / "good.keras"
    _edit(good, folder / "module.keras", lambda text: text.replace('"keras.layers"', '"subprocess"', 1))
    _edit(good, folder / "function.keras", lambda text: text.replace('"gelu"', json.dumps(_FUNCTION), 1))
    text = folder / "text.keras"
    _edit(
        text, folder / "file.keras", lambda text: text.replace('"vocabulary": null', '"vocabulary": "/etc/hostname"', 1)
    )
    _edit(good, folder / "torch.keras", lambda text: text.replace('"Dense"', '"TorchModuleWrapper"', 1))


_FUNCTION = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}


def _edit(source: Path, target: Path, change: Callable[[str], str]) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change(data.decode()) if name == "config.json" else data)


class _Program(tf.Module):  # type: ignore[misc]
    """One variable, and `body` after it."""

    def __init__(self, body: Callable[[Any], Any]) -> None:
        super().__init__()
        self.weight = tf.Variable([[2.0]])
        self._body = body

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32)])  # type: ignore[untyped-decorator]
    def serve(self, x: Any) -> Any:
        """The signature."""
        return self._body(x @ self.weight)


def _save(folder: Path, body: Callable[[Any], Any]) -> None:
    program = _Program(body)
    tf.saved_model.save(program, str(folder), signatures={"serving_default": program.serve})


def _saved_models(folder: Path) -> None:
    _sequential(keras.layers.Dense(3, activation="gelu"), keras.layers.BatchNormalization()).export(folder / "good")
    _text_model().export(folder / "text")
    _wide_model().export(folder / "wide")
    _save(folder / "module", lambda x: tf.nn.softmax(tf.while_loop(lambda i: i < 3.0, lambda i: i + 1.0, [0.0])[0] * x))
    _save(folder / "py-function", lambda x: tf.py_function(lambda y: y, [x], tf.float32))
    _save(folder / "numpy-function", lambda x: tf.numpy_function(lambda y: y, [x], tf.float32))
    _save(folder / "reads", lambda x: x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32))
    _save(folder / "writes", _with_write)
    _save(folder / "prints", _with_print)
    _save(folder / "lists", lambda x: x + tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32))
    _save(folder / "restores", lambda x: x + tf.raw_ops.RestoreV2(
        prefix="/tmp/other", tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32])[0])  # fmt: skip

    _edit_graph(folder, "calls-its-saver", _call_saver)
    _edit_graph(folder, "exports-its-saver", _export_saver)
    _edit_graph(folder, "fills-the-file-name", _fill_file_name)
    (_copy(folder, "two-graphs") / "saved_model.pbtxt").write_text("")
    (_copy(folder, "damaged") / "saved_model.pb").write_bytes(b"\x12\xff\x01")


def _copy(folder: Path, name: str) -> Path:
    shutil.copytree(folder / "good", folder / name)
    return folder / name


def _edit_graph(folder: Path, name: str, change: Callable[[Any, str], None]) -> None:
    """A copy of the good model; `change` gets its one graph and the name of the function that saves it."""
    path = _copy(folder, name) / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (graph,) = model.meta_graphs
    names = [function.signature.name for function in graph.graph_def.library.function]
    change(graph, next(name for name in names if "traced_save" in name))
    path.write_bytes(model.SerializeToString())


def _call_saver(graph: Any, saver: str) -> None:
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            if "signature_wrapper" in function.signature.name and node.op == "StatefulPartitionedCall":
                node.attr["f"].func.name = saver


def _export_saver(graph: Any, saver: str) -> None:
    functions = graph.object_graph_def.concrete_functions
    functions[saver].CopyFrom(functions[next(iter(functions))])


def _fill_file_name(graph: Any, _saver: str) -> None:
    graph.signature_def["serving_default"].inputs["path"].name = "saver_filename:0"


def _with_write(x: Any) -> Any:
    with tf.control_dependencies([tf.io.write_file("/tmp/written", tf.strings.as_string(tf.reduce_sum(x)))]):
        return tf.identity(x)


def _with_print(x: Any) -> Any:
    with tf.control_dependencies([tf.print("x", x)]):
        return tf.identity(x)


def main(folder: Path) -> None:
    """Good: good.keras, text.keras, wide.keras, the folders good, text, wide, module. The rest is to be refused."""
    _keras_files(folder)
    _saved_models(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
