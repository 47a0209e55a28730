"""What we use of MinIO's client library, imported without its administration client.

That one decrypts MinIO's own administrative answers, and pulls in two libraries of cryptography for it: more than half
of what the import takes, in every cold start whose store is S3. Nothing of ours uses it; who does gets the real one,
since the stand-in stays only for the moment of the import.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Final

_ADMINISTRATION: Final = "minio.minioadmin"


def _import() -> None:
    if "minio" in sys.modules:
        return
    sys.modules[_ADMINISTRATION] = stand_in = ModuleType(_ADMINISTRATION)
    stand_in.__dict__["MinioAdmin"] = None
    try:
        import_module("minio")
    finally:
        del sys.modules[_ADMINISTRATION]


_import()

from minio import Minio  # noqa: E402
from minio import time as amz_time  # noqa: E402
from minio.credentials import Credentials, Provider, StaticProvider  # noqa: E402
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError  # noqa: E402
from minio.signer import sign_v4_s3  # noqa: E402

__all__ = [
    "Credentials",
    "InvalidResponseError",
    "Minio",
    "MinioException",
    "Provider",
    "S3Error",
    "ServerError",
    "StaticProvider",
    "amz_time",
    "sign_v4_s3",
]
