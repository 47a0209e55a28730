"""Fuzzes the tensors of gRPC: `python -m fuzz.grpc [CORPUS] [-max_total_time=600 …]`.

Needs atheris, whose options it takes (those of libFuzzer). What must hold is in `fuzz.grpc_checks`.
"""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["botshard.oip"]):
    from fuzz.grpc_checks import check

from fuzz.running import run
from fuzz.seeds import GRPC_SEEDS


def main() -> None:
    """Until something is found, or the time is over."""
    run(check, GRPC_SEEDS, "grpc", words=("FP32", "BYTES", "x", "text", "binary_data_size"))


if __name__ == "__main__":
    main()
