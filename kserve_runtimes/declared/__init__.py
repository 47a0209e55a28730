"""The declared architectures (`linear`, `mlp`, `embedding-bag`) by numpy alone: no framework is imported for them."""
