"""Is this `.pt2` a program that `torch.export.load` can load without running anything of its own?

`torch.export.load` is not safe by itself. Read in torch 2.15 (`torch/export/__init__.py`, `pt2_archive/_package.py`,
`_export/serde/serialize.py`, `export/_unlift.py`, `utils/_pytree.py`), a file reaches code execution in these ways, and
each is closed here by refusing what an ordinary `torch.export.save` does not write:

- `data/sample_inputs/model.pt`: `torch.load(weights_only=True)`, and on any error again with `weights_only=False`.
  Accepted: a zip whose one pickle uses only the instructions and globals of plain tensors.
- `data/weights`, `data/constants` with `use_pickle`, `custom_obj_*`, `opaque_obj_*`: `torch.load(weights_only=False)`,
  `pickle.loads`. Accepted: raw tensors.
- `data/aotinductor`: loads a shared library. Accepted: nothing.
- `expr_str` and keys of `range_constraints`: `sympy.sympify`, which evaluates Python. Accepted: a grammar of sizes.
- `guards_code`: pasted into a function and `exec`uted. Accepted: a grammar of comparisons of sizes.
- `target`, `as_operator`: any attribute path below `torch`, also `torch.os.system`. Accepted: ATen and a short list.
- `in_spec`, `out_spec`: import modules for enums, default dicts and named tuples. Accepted: tuple, list, dict.
- names of nodes and arguments: pasted into generated Python. Accepted: identifiers.

The check reads the archive itself, so that it needs no torch; it is made when a bot is published, and again by the
replica that loads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from botshard.bots.limits import Limits
from botshard.bots.refusals import RefusedFileError
from botshard.bots.tensor_pickle import check_tensor_pickle
from botshard.bots.torch_program import check_program
from botshard.bots.zip_archive import read_archive
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.reading import parse_json

__all__ = ["check_torch_export"]

_WHAT = "a program saved with torch.export.save"
_PROGRAM = "models/model.json"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_PAYLOADS = {
    "data/weights/model_weights_config.json": re.compile(r"weight_[0-9]{1,6}\Z"),
    "data/constants/model_constants_config.json": re.compile(r"tensor_[0-9]{1,6}\Z"),
}
_ALLOWED_NAMES = re.compile(
    r"(?:archive_format|archive_version|byteorder|version|\.format_version|\.storage_alignment|\.data/\w+"
    r"|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/weights/(?:weight_[0-9]{1,6}|model_weights_config\.json)"
    r"|data/constants/(?:tensor_[0-9]{1,6}|model_constants_config\.json)|extra/.+)\Z"
)


def check_torch_export(path: Path, limits: Limits, /) -> list[Problem]:
    """Every reason not to load the program at `path`; ends at the first, since the rest is not to be trusted then."""
    try:
        files = _without_root(read_archive(path, _WHAT, limits))
        _check_names(files)
        for config, names in _PAYLOADS.items():
            _check_payloads(_json(files, config), config, names)
        check_tensor_pickle(files[_SAMPLE_INPUTS], limits)
        check_program(_json(files, _PROGRAM))
    except RefusedFileError as error:
        return [error.problem]
    return []


def _without_root(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Names below the one folder that the archive consists of; torch takes the first name's and ignores it after."""
    roots = {name.partition("/")[0] for name in files}
    if len(roots) != 1:
        raise RefusedFileError(f"an archive with {len(roots)} folders at its top", f"{_WHAT} (one folder at the top)")
    return {name.partition("/")[2]: data for name, data in files.items()}


def _check_names(files: Mapping[str, bytes]) -> None:
    needed = {_PROGRAM, _SAMPLE_INPUTS, *_PAYLOADS, "archive_format", "archive_version"}
    missing = sorted(needed - files.keys())
    if missing or files["archive_format"] != b"pt2":
        raise RefusedFileError(f"an archive without {', '.join(missing) or 'the format pt2'}", _WHAT)
    for name in files:
        if not _ALLOWED_NAMES.match(name):
            expected = f"{_WHAT} that holds one program `model`, plain tensors and no compiled code"
            raise RefusedFileError(f"an archive with {name!r}", expected)


def _check_payloads(document: object, name: str, path_names: re.Pattern[str]) -> None:
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise RefusedFileError(f"{name!r} without a mapping `config`", _WHAT)
    for key, payload in config.items():
        if not isinstance(payload, dict) or payload.get("use_pickle") is not False:
            raise RefusedFileError(
                f"the pickled object {key!r} in {name!r}", f"{_WHAT} whose weights are plain tensors"
            )
        if not path_names.match(str(payload.get("path_name"))):
            raise RefusedFileError(
                f"{payload.get('path_name')!r} in {name!r}", f"{_WHAT} whose weights are plain tensors"
            )


def _json(files: Mapping[str, bytes], name: str) -> object:
    try:
        return parse_json(files[name], name)
    except InvalidDocumentError as error:
        raise RefusedFileError(f"{name!r} of {error.problems[0].found}", f"{_WHAT}, whose {name} is JSON") from error
