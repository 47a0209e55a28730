"""Many small bots, trained on text: the material of the demo. `README.md` is the way through it."""
