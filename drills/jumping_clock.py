"""`python -m drills.jumping_clock`: a shard controller whose clock jumps by hours, every two seconds."""

from __future__ import annotations

import os
import sys
import time

__all__ = ["main"]

_EVERY_S = 2.0
_OFFSETS_S = (0.0, 3600.0, -3600.0, 86400.0)


def main() -> int:
    """Run with the environment of a controller."""
    true_s = time.time

    def jumping_s() -> float:
        return true_s() + _OFFSETS_S[int(time.monotonic() / _EVERY_S) % len(_OFFSETS_S)]

    # Before the controller is imported: it binds the clock when its classes are made.
    time.time = jumping_s
    from shard_controller.main import run

    return run(os.environ)


if __name__ == "__main__":
    sys.exit(main())
