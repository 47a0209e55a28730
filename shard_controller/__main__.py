"""`python -m shard_controller`."""

import sys

from shard_controller.main import main

if __name__ == "__main__":
    sys.exit(main())
