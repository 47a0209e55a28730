"""Asking: a process of its own with Locust in it, what it is told, and what it writes down."""
