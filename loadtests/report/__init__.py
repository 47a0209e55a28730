"""From exchanges to figures, and from figures to JSON, HTML and tables."""
