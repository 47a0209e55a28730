"""The runtime core: no framework and no HTTP."""
