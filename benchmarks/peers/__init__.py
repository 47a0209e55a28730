"""The network of the benchmark on other model servers. Nothing of botshard is imported here: their Python runs it."""
