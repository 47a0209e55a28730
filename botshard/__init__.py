"""What router, shard controller and model servers share; `botshard.sharding` is the pure core.

Import the module that has the thing: `from botshard.sharding.routing import RoutingTable`.
"""

__version__ = "0.1.0"
