"""The router: knows from catalog and routing table where a bot is, and forwards the request there."""
