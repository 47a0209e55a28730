"""`python -m kserve_runtimes`: one replica of a pool, configured by `RUNTIME_*` variables."""

import os
import sys

# Read when numpy is imported. What numpy computes here is too little for a thread more.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from kserve_runtimes.main import run

if __name__ == "__main__":
    code = run(os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    # The replica has drained: a load that is still running, or a framework's own threads, are not worth waiting for.
    os._exit(code)
