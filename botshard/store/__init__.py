"""The object store: artifacts, catalog, routing table, reports."""
