"""The bot as its author sees it: `bot.yaml` and model files, checked whole, published as immutable versions."""
