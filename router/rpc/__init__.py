"""gRPC at the router: calls of the Open Inference Protocol to bots, forwarded as the bytes they came in."""
