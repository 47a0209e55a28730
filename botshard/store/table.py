"""The routing table in the store: published by one controller at a time, followed by every router and replica."""

from __future__ import annotations

import threading

from botshard.sharding.codec import decode_table, encode_table
from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.routing import RoutingTable
from botshard.store.base import ObjectNotFoundError, ObjectStore
from botshard.store.layout import TABLE_CURRENT

__all__ = ["TableFollower", "TableStore"]


class TableStore:
    """Publishes the routing table."""

    def __init__(self, store: ObjectStore, /) -> None:
        self._store = store

    def read(self) -> tuple[RoutingTable, str] | None:
        """The published table and its etag; None before the first.

        Raises: InvalidDocumentError, StoreError.
        """
        try:
            blob = self._store.get(TABLE_CURRENT)
        except ObjectNotFoundError:
            return None
        return decode_table(blob.data, TABLE_CURRENT), blob.etag

    def publish(self, table: RoutingTable, /, *, previous_etag: str | None) -> str:
        """Replace the table that has `previous_etag` (None: there is none yet); returns the new etag.

        Raises: PreconditionFailedError where another controller was faster; StoreError.
        """
        return self._store.put_if(TABLE_CURRENT, encode_table(table), etag=previous_etag)


class TableFollower:
    """Holds the newest acceptable table. Its method blocks and may be called from any thread."""

    def __init__(self, store: ObjectStore, /) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.etag: str | None = None
        """Of what is published now, acceptable or not; None where nothing is."""
        self.table: RoutingTable | None = None
        """The table in force; None until there is one."""
        self.problem: str | None = None
        """Why what is published now was refused; None where it is in force."""

    def refresh(self) -> bool:
        """Whether a new table was taken up. One poll where nothing has changed.

        Raises: StoreError; the table in force stays.
        """
        with self._lock:
            try:
                blob = self._store.get_if_changed(TABLE_CURRENT, self.etag)
            except ObjectNotFoundError:
                if self.table is not None:
                    self.problem = f"{TABLE_CURRENT} is gone; epoch {self.table.epoch} stays in force"
                    self.etag = None  # so that it is judged anew when it is back, changed or not
                return False
            if blob is None:
                return False
            self.etag = blob.etag
            return self._take(blob.data)

    def _take(self, data: bytes) -> bool:
        held = self.table
        try:
            table = decode_table(data, TABLE_CURRENT)
        except InvalidDocumentError as error:
            self.problem = str(error)
            return False
        if held is not None and table.epoch < held.epoch:
            self.problem = f"{TABLE_CURRENT}: epoch {table.epoch} is older than the {held.epoch} that is in force"
            return False
        if held is not None and table.epoch == held.epoch:
            self.problem = None
            if table != held:
                self.problem = f"{TABLE_CURRENT}: another table than the one in force has its epoch {table.epoch}"
            return False
        self.table = table
        self.problem = None
        return True
