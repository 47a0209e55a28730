"""`python -m loadtests`."""

from __future__ import annotations

import signal
import sys

from loadtests.main import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is run is stopped, and reported, as by Ctrl-C
    sys.exit(main())
