"""The Open Inference Protocol: tensors, requests, answers, headers."""
