"""`python -m kserve_runtimes`: one replica of a pool, configured by `RUNTIME_*` variables."""

import gc
import os
import sys

# Read when numpy is imported. What numpy computes here is too little for a thread more.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

gc.disable()  # until everything is imported, all of which stays

from kserve_runtimes.main import run  # noqa: E402 - what is set above is read by it

if __name__ == "__main__":
    code = run(os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    # The replica has drained: a load that is still running, or a framework's own threads, are not worth waiting for.
    os._exit(code)
