"""Attacks by tools: schemathesis over the REST descriptions, atheris over the parser and the tensors' decoders."""
