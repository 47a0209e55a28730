"""KServe's SDK, imported so that it neither reads our command line nor configures our logs.

`kserve.model_server` parses `sys.argv` when it is imported and takes any flag that looks like one of its own. What a
replica is told comes from its environment, so the SDK sees an empty command line.
"""

from __future__ import annotations

import sys

_argv = sys.argv
sys.argv = [_argv[0], "--configure_logging=false", "--enable_latency_logging=false"]
try:
    import kserve.model_server
finally:
    sys.argv = _argv

from kserve.errors import InvalidInput, ModelNotReady, ServerNotReady  # noqa: E402
from kserve.model import InferenceVerb, Model  # noqa: E402
from kserve.model_repository import ModelRepository  # noqa: E402
from kserve.protocol.dataplane import DataPlane  # noqa: E402
from kserve.protocol.infer_type import InferOutput, InferRequest, InferResponse  # noqa: E402
from kserve.protocol.model_repository_extension import ModelRepositoryExtension  # noqa: E402
from kserve.protocol.rest.server import RESTServer  # noqa: E402

ModelServer = kserve.model_server.ModelServer
application = kserve.model_server.app

__all__ = [
    "DataPlane",
    "InferOutput",
    "InferRequest",
    "InferResponse",
    "InferenceVerb",
    "InvalidInput",
    "Model",
    "ModelNotReady",
    "ModelRepository",
    "ModelRepositoryExtension",
    "ModelServer",
    "RESTServer",
    "ServerNotReady",
    "application",
]
