"""Several processes of one router behind one address: who starts them, replaces them, and adds up what they count.

- `main`: `python -m router`; decides whether this is the one process or supervises several
- `supervisor`: holds the listening sockets, starts a worker for each, starts them again, reloads, stops
- `seats`: a listening socket and whoever serves it
- `gathering`: what all workers have counted, also those that are gone
- `wire`: messages between supervisor and worker
- `link`: the worker's side of it
- `sums`: families of metrics added up; pure
- `crew`: what the application asks about all workers
- `listening`: sockets that share a port
- `env_file`: settings that are read again at a reload

The supervisor imports no more than this package, settings and logs, so that it is small and hardly ever the reason of
anything. All that serves is in `router.main`.
"""
