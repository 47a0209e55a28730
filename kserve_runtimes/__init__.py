"""Model servers for pools of bots, on KServe's Python SDK.

- `core`: what every framework shares: which bots are ours, which are loaded, running them, reporting them
- `serving`: HTTP and gRPC over the core, with the SDK's server around them
- `torch`, `tensorflow`, `onnx`, `kserve`: loading models of one framework; nothing else imports a framework
- `zygote`: a warmed process that forks replicas
"""
