"""Where the time of one request went."""

from __future__ import annotations

__all__ = ["Times"]


class Times:
    """Where the time of one request went, in seconds; what a batch took for all its rows counts by rows."""

    __slots__ = ("batch_rows", "load_s", "post_s", "pre_s", "predict_s", "queue_s")

    def __init__(self, queue_s: float, load_s: float) -> None:
        self.queue_s = queue_s
        """Waited for a free thread, or for the turn of the event loop to end."""
        self.load_s = load_s
        """Waited before that for its bot to be loaded; 0: it was there."""
        self.pre_s = 0.0
        self.predict_s = 0.0
        self.post_s = 0.0
        self.batch_rows = 0
        """Rows that the model was given at once; 0: it came not so far."""

    @property
    def work_s(self) -> float:
        """What it took without waiting."""
        return self.pre_s + self.predict_s + self.post_s
