"""The Open Inference Protocol over REST: bytes to arrays and back, for servers and for clients.

Nothing here opens a socket or knows a web framework: a body goes in, values come out.

- `headers`: the names of all headers that router, pools and clients exchange
- `deadlines`: how long a caller still waits, in each protocol's writing
- `trace_context`: what of W3C Trace Context may be sent on
- `errors`: what can be wrong with a body
- `tensors`: one named tensor, its datatypes, its JSON and its binary form
- `rest`: the infer request and its answer, server side
- `client`: the same two, client side
- `v1`: the older `:predict` protocol, mapped onto the same values
- `metadata`: what a server says about itself and its models
- `content`: compressed bodies
"""
