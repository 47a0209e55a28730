"""Load by `wrk`, which is C: what drives a fast proxy must cost much less than it does. Else load is Python's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.http_load import Load, run_load

__all__ = ["is_here", "run_wrk"]

_UNLIKE = 5_000
_SCRIPT = """
local requests = {}
local headers = {["content-type"] = "application/json", ["user-agent"] = "load", ["accept"] = "*/*"}
init = function(args)
  for name, value in pairs(headers) do wrk.headers[name] = value end
  for line in io.lines("%(file)s") do
    local path, body = line:match("^(%%S+) (.*)$")
    if %(unlike)s then wrk.headers["x-mark"] = tostring(#requests) end
    requests[#requests + 1] = wrk.format("POST", path, nil, body)
  end
end
local at = 0
request = function()
  at = at %% #requests + 1
  return requests[at]
end
done = function(summary, latency, all)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\\n{"answered": %%d, "failed": %%d, "took_us": %%d, "percentiles": [',
    summary.requests, failed, summary.duration))
  for share = 1, 999 do io.write(string.format("%%s%%d", share > 1 and "," or "", latency:percentile(share / 10))) end
  io.write("]}\\n")
end
"""


def is_here() -> bool:
    """Whether the program is on the path."""
    return shutil.which("wrk") is not None


def run_wrk(
    port: int, paths: list[str], *, body: bytes, connections: int, seconds: float, unlike: bool = False
) -> Load:
    """Keep connections busy with POST requests to each path in turn; latencies are percentiles in steps of 0.1.

    `unlike`: no two of some 5,000 requests have the same head (only by wrk).
    """
    program = shutil.which("wrk")
    if program is None:
        head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        requests = [head % (path.encode(), len(body), body) for path in paths]
        return run_load(port, requests, connections=connections, seconds=seconds)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requests")
        paths = paths * (_UNLIKE // len(paths)) if unlike else paths
        file.write_bytes(b"".join(b"%b %b\n" % (path.encode(), body) for path in paths))
        script = Path(folder, "load.lua")
        script.write_text(_SCRIPT % {"file": file, "unlike": str(unlike).lower()})
        command = [program, "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "-s", str(script)]
        found = subprocess.run(
            [*command, f"http://127.0.0.1:{port}"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    seen = json.loads(found.stdout.strip().splitlines()[-1])
    return Load(
        seen["answered"], seen["failed"], seen["took_us"] / 1e6, [value / 1e6 for value in seen["percentiles"]], ""
    )
