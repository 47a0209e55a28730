"""`python -m drills`."""

from __future__ import annotations

import sys

from drills.main import main

if __name__ == "__main__":
    sys.exit(main())
