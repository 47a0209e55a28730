"""HTTP/1.1 for servers whose every request counts: one protocol on an asyncio transport, parsed by llhttp.

What is asked most (`hot` requests) is answered by plain calls with the whole body and one write; all else goes to
an ASGI application behind, on the same connections and in order.

- `limits`: every bound and every patience
- `answers`: an answer in bytes
- `exchange`: one request and its answer, as the connection sees it
- `framing`: how a body that comes in pieces is sent
- `whole`: requests whose body is kept until all of it is here
- `hot`: the requests that are answered without an application
- `asgi`: the requests that an application answers
- `reader`: bytes to requests
- `outflow`: whether the peer reads
- `connection`: queues, answers in order, watches the time
- `server`: listening sockets, and the end
"""
