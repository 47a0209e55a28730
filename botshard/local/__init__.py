"""The local stack: store, controller, pools and router as processes of one machine."""
