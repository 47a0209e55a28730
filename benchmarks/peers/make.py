"""Makes an environment with the peers: `python -m benchmarks.peers.make FOLDER [--python PATH]`.

`benchmarks.pool --peers-python FOLDER/bin/python` then measures them. PyTorch is not installed again where both
Pythons are of one version: a `.pth` file lends them this one's. TorchServe also needs a Java runtime, 11 or later.
PyTriton's server embeds a Python of its own, the one of the distribution that it was built for: on Debian 12 make the
environment with /usr/bin/python3.11.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
from pathlib import Path

_PEERS = ("mlserver==1.7.1", "torchserve==0.12.0", "nvidia-pytriton==0.7.0", "uvloop<0.22")
"""MLServer does not start on a newer uvloop."""


def main() -> int:
    """Make it."""
    options = argparse.ArgumentParser(description="Makes an environment with the peers")
    options.add_argument("folder", type=Path)
    options.add_argument("--python", default=sys.executable, help="what makes it (default: this one)")
    options.add_argument("--find-links", metavar="DIR", help="where wheels may lie already")
    chosen = options.parse_args()
    subprocess.run([chosen.python, "-m", "venv", chosen.folder], check=True)
    python = chosen.folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_python_version(), sysconfig.get_path('purelib'))"
    version, libraries = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.split()
    wanted = list(_PEERS)
    if version == sysconfig.get_python_version():
        (Path(libraries) / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    else:
        wanted.append("torch")
    links = ["--find-links", chosen.find_links] if chosen.find_links else []
    subprocess.run([python, "-m", "pip", "install", "--quiet", *links, *wanted], check=True)
    print(f"python -m benchmarks.pool --peers-python {python}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
