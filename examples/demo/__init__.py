"""The demo: hundreds of bots trained, published, placed, served, put to sleep and woken, every answer checked."""
