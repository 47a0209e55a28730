"""Is this `.keras` file a model of Keras' own layers?

Keras builds what `config.json` names: any importable class or function, in its safe mode too where a check was
forgotten (CVE-2025-1550, CVE-2025-8747, CVE-2025-9906), and layers that read files by name (CVE-2025-12058). So the
names are checked here, against Keras' own modules, before Keras sees the file; the runtime then loads it in safe
mode, whose reader refuses links out of the HDF5 weights.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from botshard.bots.limits import Limits
from botshard.bots.refusals import RefusedFileError
from botshard.bots.zip_archive import read_archive
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.reading import parse_json

__all__ = ["check_keras"]

_WHAT = "a Keras 3 model saved with model.save('model.keras')"
_NAMES = re.compile(r"(?:config\.json|metadata\.json|model\.weights\.h5|assets/.+)\Z")
_MODULES = frozenset(
    """keras keras.constraints keras.initializers keras.layers keras.losses keras.metrics keras.models keras.optimizers
    keras.optimizers.schedules keras.regularizers keras.random keras.src.models.functional keras.src.models.sequential
    keras.src.ops.core keras.src.ops.einops keras.src.ops.linalg keras.src.ops.math keras.src.ops.nn
    keras.src.ops.numpy""".split()  # noqa: SIM905 - one name a line would be a page
)
_PLAIN_CLASSES = frozenset({"__keras_tensor__", "__tensor__", "__tuple__", "__numpy__", "__bytes__", "__slice__"})
"""Values that Keras writes without a module."""
_FORBIDDEN_CLASSES = frozenset(
    {
        "FlaxLayer",
        "JaxLayer",
        "Lambda",
        "StatefulPartitionedCall",
        "TFSMLayer",
        "TorchModuleWrapper",
        "CustomObjectScope",
    }
)
"""Keras' own layers that run Python from the file, or load other files."""
_FILE_KEYS = frozenset({"filepath", "vocabulary", "vocabulary_file", "idf_weights"})
"""Parameters where a text is the name of a file; a list is a value."""
_MOST_DEPTH = 200


def check_keras(path: Path, limits: Limits, /) -> list[Problem]:
    """Every reason not to load the model at `path`; ends at the first, since the rest is not to be trusted then."""
    try:
        files = read_archive(path, _WHAT, limits)
        _check_names(files)
        _check_config(parse_json(files["config.json"], "config.json"))
    except InvalidDocumentError as error:
        return [Problem("model.file", f"a config.json of {error.problems[0].found}", _WHAT)]
    except RefusedFileError as error:
        return [error.problem]
    return []


def _check_names(names: Collection[str]) -> None:
    for name in ("config.json", "model.weights.h5"):
        if name not in names:
            raise RefusedFileError(f"an archive without {name!r}", _WHAT)
    for name in names:
        if not _NAMES.match(name):
            raise RefusedFileError(f"an archive with {name!r}", _WHAT)


def _check_config(config: object) -> None:
    if not isinstance(config, dict) or "class_name" not in config:
        raise RefusedFileError("a config.json without class_name", _WHAT)
    _check(config, 0)


def _check(value: object, depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise RefusedFileError("a config.json nested too deeply", f"{_WHAT} nested at most {_MOST_DEPTH} deep")
    if isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        if "class_name" in value or "module" in value or "registered_name" in value:
            _check_class(value)
        for key, item in value.items():
            if key in _FILE_KEYS and isinstance(item, str):
                raise RefusedFileError(
                    f"the file name {item!r:.80} as {key}", f"{_WHAT} that holds its vocabularies itself"
                )
            _check(item, depth + 1)


def _check_class(entry: dict[str, object]) -> None:
    name, module, registered = entry.get("class_name"), entry.get("module"), entry.get("registered_name")
    if name in _FORBIDDEN_CLASSES or name in {"function", "__lambda__"}:
        expected = f"{_WHAT} without Lambda layers and functions of its own: use a layer or keras.ops, or a SavedModel"
        raise RefusedFileError(f"a {name} layer" if name != "function" else "a function of its own", expected)
    if module is None and registered is None and name in _PLAIN_CLASSES:
        return
    if module not in _MODULES or (registered is not None and registered != name):
        shown = registered if module is None or module in _MODULES else f"{module}.{name}"
        raise RefusedFileError(f"the class {shown!r:.80}", f"{_WHAT} of Keras' own classes only, in Keras' safe mode")
