"""The shard controller: observe, plan, apply, report. Level-triggered, idempotent, safe to kill at any point."""
