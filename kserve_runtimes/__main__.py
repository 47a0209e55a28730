"""`python -m kserve_runtimes`: one replica of a pool, configured by `RUNTIME_*` variables."""

import os
import sys

from kserve_runtimes.main import run

if __name__ == "__main__":
    code = run(os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    # The replica has drained: a load that is still running, or a framework's own threads, are not worth waiting for.
    os._exit(code)
