"""Is this file, written by `torch.save`, a pickle of plain tensors and nothing else?

`pickletools` lists a pickle's instructions without executing one. Only the instructions and the globals that plain
tensors in tuples, lists and dicts need are accepted: fewer than torch's own `weights_only` mode allows, so what passes
here never makes that mode fail, and the unsafe second attempt of `torch.export.load` is never made.
"""

from __future__ import annotations

import pickletools
import re

from botshard.bots.limits import Limits
from botshard.bots.refusals import RefusedFileError
from botshard.bots.zip_archive import read_archive

__all__ = ["check_tensor_pickle"]

_WHAT = "sample inputs that torch.export.save wrote for plain tensors, with its default pickle protocol"
_NAMES = re.compile(
    r"[^/]+/(?:data\.pkl|data/[0-9]{1,6}|version|byteorder|\.format_version|\.storage_alignment|\.data/\w+)\Z"
)
_OPCODES = frozenset(
    """PROTO STOP MARK GLOBAL BINPERSID REDUCE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE""".split()  # noqa: SIM905 - one name a line would be a page
)
_GLOBALS = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils (?:_rebuild_tensor_v2|_rebuild_parameter)"
    r"|torch\._tensor _rebuild_from_type_v2|torch Tensor"  # tensors whose sizes were marked as dynamic
    r"|torch (?:Bool|Byte|Char|Short|Int|Long|Half|BFloat16|Float|Double|ComplexFloat|ComplexDouble)Storage"
)


def check_tensor_pickle(data: bytes, limits: Limits, /) -> None:
    """Raises: RefusedFileError unless `data` is a zip of `torch.save` that holds plain tensors only."""
    files = read_archive(data, _WHAT, limits)
    pickles = [name for name in files if name.endswith("/data.pkl")]
    unknown = [name for name in files if not _NAMES.match(name)]
    if len(pickles) != 1 or unknown or len({name.partition("/")[0] for name in files}) != 1:
        raise RefusedFileError(f"sample inputs with {', '.join(map(repr, unknown)) or 'no pickle'}", _WHAT)
    try:
        for opcode, argument, _ in pickletools.genops(files[pickles[0]]):
            if opcode.name not in _OPCODES:
                raise RefusedFileError(f"a pickle with the instruction {opcode.name}", _WHAT)
            if opcode.name == "GLOBAL" and not _GLOBALS.fullmatch(str(argument)):
                raise RefusedFileError(f"a pickle that calls {str(argument).replace(' ', '.')}", _WHAT)
    except ValueError as error:
        raise RefusedFileError(f"a damaged pickle ({error})", _WHAT) from error
