"""gRPC for servers whose every request counts: the C core's completion queue on one thread, calls on the event loop.

`grpc.aio` spends several times what a small model costs on tasks, futures and contexts of each call. Here a call's
message comes to the loop together with all others that have arrived, and its answer is one operation of the C core.

- `codes`: statuses, without gRPC itself
- `calls`: a call with one message and one answer; a call that streams
- `server`: the port, the queue's thread, the end
"""
