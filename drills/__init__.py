"""Drills: what must not harm anybody is done to a live stack under load, and every answer is checked."""
