"""HTTP and gRPC over the runtime core, with KServe's SDK around and behind them."""
