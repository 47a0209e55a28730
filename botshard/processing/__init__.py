"""Declarative steps before and after the model."""
