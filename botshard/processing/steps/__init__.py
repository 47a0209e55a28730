"""One file a step. `docs/processing.md` describes them for authors of bots."""
