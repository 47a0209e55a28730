"""`python -m examples.demo`, which is what `make demo` runs."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from examples.backbone import PACKAGES
from examples.bots import DEFAULT_COUNT, DEFAULT_HEADS
from examples.demo.run import Demo
from examples.demo.stack import DemoError


def main() -> int:
    """Run the demo; 1 where an answer differs or something fails."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--store", choices=("file", "minio"), default="file", help="where artifacts and tables live")
    parser.add_argument("--backbone", choices=sorted(PACKAGES), help="train bots that are heads on this encoder")
    parser.add_argument("--bots", type=int, help=f"how many to train ({DEFAULT_COUNT}; on a backbone {DEFAULT_HEADS})")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="use this folder and leave everything in it")
    options = parser.parse_args()
    folder: Path = options.keep or Path(tempfile.mkdtemp(prefix="botshard-demo-"))
    try:
        count = options.bots or (DEFAULT_HEADS if options.backbone else DEFAULT_COUNT)
        demo = Demo(folder, store=options.store, count=count, backbone=options.backbone, environ=os.environ)
        return 0 if demo.run() else 1
    except DemoError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("demo: stopped\n")
        return 130
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
