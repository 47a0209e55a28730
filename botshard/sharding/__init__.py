"""The pure core: what a bot, a shard, a placement, a routing table and a plan are. Standard library only."""
