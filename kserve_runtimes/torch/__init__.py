"""PyTorch: safetensors with a declared architecture, and `torch.export` programs."""
