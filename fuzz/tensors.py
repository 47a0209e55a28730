"""Fuzzes the tensors' decoders and encoders: `python -m fuzz.tensors [CORPUS] [-max_total_time=600 …]`.

Needs atheris, whose options it takes (those of libFuzzer). What must hold is in `fuzz.tensor_checks`.
"""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["botshard.oip"]):
    from fuzz.tensor_checks import check

from fuzz.running import run
from fuzz.seeds import TENSOR_SEEDS

_WORDS = (
    *('"inputs"', '"name"', '"shape"', '"datatype"', '"data"', '"parameters"', '"binary_data_size"', '"outputs"'),
    *('"id"', '"instances"', '"x"', '"text"', '"FP32"', '"FP64"', '"BYTES"', "[1,4]", "[[", "]]", "null", "true"),
    *("1e400", "-0", "1E+2", "18446744073709551616", '"\\ud800"', '"\\u0000"', "NaN", "Infinity", "[]", "{}"),
)


def main() -> None:
    """Until something is found, or the time is over."""
    run(check, TENSOR_SEEDS, "tensors", words=_WORDS)


if __name__ == "__main__":
    main()
