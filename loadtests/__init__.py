"""Load on a running system: who asks which bot when, what becomes of it, and what it teaches."""
