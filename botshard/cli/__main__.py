"""`python -m botshard.cli`."""

from __future__ import annotations

from botshard.cli.main import main

main()
