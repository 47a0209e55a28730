"""What the router tells of its requests: which bots are busiest, the access log, the ledger of cold starts, traces."""
