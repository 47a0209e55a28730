"""Inputs that the fuzzers begin with, and those that have found something: the tests run them all."""

from __future__ import annotations

__all__ = ["GRPC_SEEDS", "HTTP_SEEDS", "TENSOR_SEEDS"]

_JSON = (
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2.5,-3e2,0]}]}',
    b'{"id":"7","inputs":[{"name":"x","datatype":"FP32","shape":[2,4],"data":[[1,2,3,4],[5,6,7,8]]}],"outputs":[]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1e200,-1e300,1e308,0]}]}',
    b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1,1],"data":["hi"]}]}',
)
TENSOR_SEEDS: tuple[bytes, ...] = (
    *(bytes([1, 0]) + body for body in _JSON),
    *(bytes([1, 1]) + body for body in _JSON),
    *(bytes([way, spec, 2]) + bytes(range(64)) for way in range(6) for spec in range(8)),
    *(bytes([way, spec]) + bytes(range(255, 155, -1)) for way in (0, 2, 5) for spec in range(8)),
)
HTTP_SEEDS: tuple[bytes, ...] = (
    b"GET /hot/a HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /hot/b HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhelloGET /a?b=c HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nt: u\r\n\r\n",
    b"POST /hot/a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc",
    b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\nHEAD /hot/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    b"GET /a HTTP/1.1\r\nhost: x\r\nconnection: upgrade, x\r\nupgrade: h2c\r\n\r\nGET /b HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n0123456789GET /stream HTTP/1.1\r\nhost: x\r\n\r\n",
    (
        b"POST /hot/defect HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
        b"GET /defect HTTP/1.1\r\nhost: x\r\n\r\nGET /half HTTP/1.1\r\nhost: x\r\n\r\n"
    ),
    b"\r\n\r\nGET /hot/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    b"GET /hot/a HTTP/1.1\r\n\r\n",
    b"GET /hot/a HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
)
GRPC_SEEDS: tuple[bytes, ...] = (
    *(bytes([way, spec, 2]) + bytes(range(64)) for way in range(3) for spec in range(8)),
    *(bytes([0, spec, 1]) + bytes([255] * 40) + bytes([1, 7, 2, 3, 5, 7, 1, 1]) for spec in range(8)),
)
