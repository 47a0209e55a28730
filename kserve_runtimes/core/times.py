"""Where the time of one request went."""

from __future__ import annotations

__all__ = ["Times"]


class Times:
    """Where the time of one request went, in seconds; what a batch took for all its rows counts by rows."""

    __slots__ = ("asked_at_s", "batch_rows", "fetch_s", "load_s", "post_s", "pre_s", "predict_s", "queue_s", "wait_s")

    def __init__(self, queue_s: float, load_s: float) -> None:
        self.queue_s = queue_s
        """Waited for a free thread, or for the turn of the event loop to end."""
        self.load_s = load_s
        """Waited before that until its bot was loaded; 0: it was there."""
        self.fetch_s = 0.0
        """Part of that: its files came from the store, a sibling or the disk."""
        self.wait_s = 0.0
        """Part of that: for the first reading of table and catalog, a free loader, room in memory."""
        self.asked_at_s = 0.0
        """Instant of `time.perf_counter` from which all of these count."""
        self.pre_s = 0.0
        self.predict_s = 0.0
        self.post_s = 0.0
        self.batch_rows = 0
        """Rows that the model was given at once; 0: it came not so far."""

    @property
    def work_s(self) -> float:
        """What it took without waiting."""
        return self.pre_s + self.predict_s + self.post_s

    def split_load(self, *, fetched_s: float, made_s: float) -> None:
        """Tell the parts of `load_s`, of which nearly always one request saw all: its load ended when its wait did.

        Args:
            fetched_s: how long the load of the bot took for files.
            made_s: and after that, until the bot was there.
        """
        made_s = min(made_s, self.load_s)
        self.fetch_s = min(fetched_s, self.load_s - made_s)
        self.wait_s = self.load_s - made_s - self.fetch_s
