"""Golden vectors: what every implementation, in any language, must compute. See `make.py`."""
