"""Files whose loading runs code: how to know one, why it is refused, and what to do instead.

Unpickling runs whatever the file says, so a pickle from a customer is a program of that customer's in a process that
serves other customers. Nothing here loads a file: the first bytes, and the names in a zip, are enough to know it.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from botshard.sharding.errors import Problem

__all__ = ["find_pickle"]

_PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_NUMPY_MAGIC = b"\x93NUMPY"
_PICKLE_PROTO = 0x80  # opcode PROTO, first in every pickle since protocol 2; its argument is the protocol
_NEWEST_PROTOCOL = 5

_WAY_OUT_TORCH = (
    "weights without code: for a declared architecture "
    "`safetensors.torch.save_file(model.state_dict(), 'model.safetensors')`, for any other network "
    "`torch.export.save(torch.export.export(model, (example,)), 'model.pt2')`"
)
_WAY_OUT_TENSORFLOW = (
    "a model without code: `model.save('model.keras')` (Keras 3), or `model.export('model')` for a SavedModel folder"
)
_WAYS_OUT = {
    "tensorflow": _WAY_OUT_TENSORFLOW,
    "onnx": "a graph without code: `skl2onnx.to_onnx(model, example, options={'zipmap': False})` for scikit-learn",
    "kserve": "data without code: safetensors, ONNX, JSON, text; the class that reads them is the image's",
}


def find_pickle(path: Path, /, framework: str | None) -> Problem | None:
    """What is wrong with the model file at `path` if loading it could run code, else None.

    Says nothing about whether the file is a good one of its format.
    """
    what = _what_it_is(path)
    if what is None:
        return None
    way_out = _WAYS_OUT.get(framework or "", _WAY_OUT_TORCH)
    return Problem("model.file", f"{path.name!r}, {what}: loading it can run any code", way_out)


def _what_it_is(path: Path) -> str | None:
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(16)
    # Then an instruction, none of which is 0: so begins the length in front of some safetensors files' headers.
    if len(head) > 1 and head[0] == _PICKLE_PROTO and head[1] <= _NEWEST_PROTOCOL and head[2:3] != b"\0":
        return "a pickle"
    if head.startswith(_HDF5_MAGIC):
        return "a legacy HDF5 model, whose Lambda layers are marshalled Python"
    if head.startswith(_NUMPY_MAGIC):
        return "a NumPy file, which may hold a pickle"
    if head.startswith(b"PK") and _is_torch_save(path):
        return "a pickle in the zip that torch.save writes"
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        return f"by its name ({path.suffix}) a pickle"
    return None


def _is_torch_save(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return any(name.count("/") <= 1 and name.rsplit("/", 1)[-1] in {"constants.pkl", "data.pkl"} for name in names)
