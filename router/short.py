"""The short way: a usual request goes to its pool, and the answer back, by a handful of plain calls.

Most requests of a kept-alive client differ from an earlier one in nothing but the body and the ids that trace them.
What was read once by the strict parsers, and found plain, is remembered by its very bytes (`router.remembered`): the
request line, the other lines of the head, a pool's head. A request goes the short way when its bytes are known, its
body is here and a connection to the pool that is chosen is idle. All else goes the long way (`router.request`), and so
does a request under way as soon as anything unusual happens: an answer that is not known, or not whole, or no success;
an error; a deadline; a client that goes. It takes along what it has, as if it had been there from its beginning.

Nothing is decided here that is not decided there: which pool, how long, what is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from botshard.http1.answers import Clock
from botshard.http1.answers import line as header_line
from botshard.http1.connection import Connection as ClientConnection
from botshard.http1.exchange import Exchange
from botshard.oip.deadlines import for_next_hop
from botshard.oip.trace_context import TRACEPARENT, TRACESTATE
from botshard.sharding.errors import ShardingError
from botshard.sharding.ids import PoolName
from router.access.principal import Lease
from router.heads import REQUEST_ID, broken_trace, read_request_head
from router.known_answers import KnownAnswers
from router.remembered import (
    KnownFields,
    KnownLine,
    Remembered,
    split_ids,
)
from router.request import BotRequest
from router.targets import Target

if TYPE_CHECKING:
    from router.front import Front

__all__ = ["ShortWay"]

_LINES: Final = 8192
_FIELDS: Final = 2048
_TAILS: Final = 1024
_SPLIT_FROM_BYTES: Final = 8192
"""Bodies from this size on are not copied behind their head but sent after it."""
_NO_FAILURES: Final[Mapping[PoolName, int]] = {}
_ID_LINE: Final = header_line(REQUEST_ID, b"%b")
_NO_IDS: Final[Sequence[tuple[bytes, bytes]]] = ()
_ODD_FIELDS: Final = (
    b"transfer-encoding",
    b"expect",
    b"upgrade",
    b"te",
    b"trailer",
    b"keep-alive",
    b"proxy-connection",
)
_TRACE: Final = frozenset({TRACEPARENT, TRACESTATE})


class ShortWay:
    """See the module; what all requests on it share. `botshard.http1.shortcut.Shortcut` says who calls."""

    def __init__(self, front: Front, clock: Clock) -> None:
        self.front = front
        self.gate = front.gate
        self.way = front.way
        self.clock = clock
        self.choose = front.way.choose
        self._watches = front.telemetry.is_watching
        self._routes = front.way.routes
        self._table = self._routes.table
        self._bots = self._routes.bots
        self._turn = 0
        self.taken = 0
        """Requests that went here, at least at first."""
        self._lines: Remembered[KnownLine] = Remembered(_LINES)
        self._fields: Remembered[KnownFields] = Remembered(_FIELDS)
        self.answers = KnownAnswers()
        self._line_of = self._lines.found.get
        self._fields_of = self._fields.found.get
        self.answer_of = self.answers.as_sent.get
        self._tails: dict[float, bytes] = {}

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, link: ClientConnection, data: bytes, /) -> bool:
        """See `botshard.http1.shortcut.Shortcut`."""
        cut = data.find(b"\r\n") + 2
        line = self._line_of(data[:cut])
        if line is None:
            return False
        end = data.find(b"\r\n\r\n", cut) + 4
        lines = data[cut:end]
        fields, ids = self._fields_of(lines), _NO_IDS
        if fields is None:
            fields, ids = self._without_ids(lines)
        if fields is None or len(data) - end != fields.body_bytes or not self._is_placed(line):
            return False
        if self._watches and self.front.telemetry.wants(_traceparent(ids)):
            return False
        trip = link.trip
        if trip is None or not trip.is_over:
            trip = link.trip = _Trip(self, link)
        trip.asks, trip.says, trip.ids = line, fields, ids
        return bool(trip.go(data, end))

    def _without_ids(self, lines: bytes) -> tuple[KnownFields | None, Sequence[tuple[bytes, bytes]]]:
        kept, ids = split_ids(lines)
        if not ids or _has_broken_trace(ids):
            return None, _NO_IDS
        return self._fields_of(kept), ids

    def _is_placed(self, line: KnownLine) -> bool:
        """Whether it is known where the bot is, by table and catalog as they are now."""
        routes = self._routes
        if routes.table is not self._table or routes.bots is not self._bots:
            self._turn += 1
            self._table, self._bots = routes.table, routes.bots
            self._tails = {}
        if line.turn == self._turn:
            return True
        route = routes.find(line.bot)
        routed = () if route is None else routes.pools(route)
        if routed and self.way.hedges(routed[0].group):
            return False  # a request that may get a second try is watched
        if routed:
            line.route, line.routed, line.turn = route, routed, self._turn
        return bool(routed)

    def admit(self, line: KnownLine, fields: KnownFields, now_s: float, /) -> Lease | None:
        """Whether the gate lets a request in; where it does not, the long way asks it again and tells why."""
        gate, route = self.gate, line.route
        assert gate is not None  # noqa: S101 - what the caller has seen
        assert route is not None  # noqa: S101 - it is placed
        principal = fields.principal
        if principal is None or now_s >= principal.until_s:
            try:
                principal = fields.principal = gate.who(dict(fields.headers))
            except ShardingError:
                return None
        return gate.admit_quietly(principal, line.bot, route)

    def tail(self, left_s: float, /) -> bytes:
        """The last lines of a head that is sent at once."""
        tail = self._tails.get(left_s)
        if tail is None:
            if len(self._tails) > _TAILS:
                self._tails.clear()
            tail = b"x-botshard-epoch: %d\r\nx-request-timeout: %.3f\r\n\r\n" % (self.way.epoch, left_s)
            self._tails[left_s] = tail
        return tail

    # ── what is learnt ────────────────────────────────────────────────────────────────────────────────────────────────

    def learn(self, exchange: Exchange, data: bytes, /) -> None:
        """A request was read by the parser; `data` began with it."""
        if type(exchange) is not BotRequest or not exchange.is_whole or exchange.error is not None:
            return
        cut = data.find(b"\r\n") + 2
        end = data.find(b"\r\n\r\n", cut) + 4
        if len(data) - end != exchange.body_bytes:
            return
        line, (lines, ids) = data[:cut], split_ids(data[cut:end])
        is_new, is_due = line not in self._lines.found, self._fields.is_due(lines)
        if not (is_new or is_due) or not _is_plain(exchange):
            return
        if exchange.body_bytes > self.front.limits.small_body_bytes:
            return  # it has to be accounted for
        if line != b"POST %b HTTP/1.1\r\n" % exchange.target:
            return  # the parser passes over empty lines before it
        if is_new:
            self._lines.keep(line, KnownLine(exchange.bot_id, exchange.path))
        names = {name.lower() for name, _ in ids}
        if len(names) == len(ids) and is_due:
            headers = [(name, value) for name, value in exchange.headers if name not in names]
            if any(name in _TRACE for name, _ in headers):
                return  # what is left of a trace cannot be read without the rest
            head = read_request_head(headers, dict(headers), self.front.dropped)
            self._fields.keep(lines, KnownFields(headers, head, exchange.body_bytes))


def _has_broken_trace(ids: Sequence[tuple[bytes, bytes]]) -> bool:
    trace = [(name.lower(), value) for name, value in ids if name.lower() != REQUEST_ID]
    return bool(trace) and not broken_trace(trace).isdisjoint(name for name, _ in trace)


def _is_plain(request: BotRequest) -> bool:
    fields = request.fields
    connection = fields.get(b"connection")
    return (
        request.method == b"POST"
        and request.version == "1.1"
        and request.keep_alive
        and b"content-length" in fields
        and (connection is None or connection.lower() == b"keep-alive")
        and not any(name in fields for name in _ODD_FIELDS)
        and request.path == request.target
        and request.path.endswith(b"/infer")
        and b"/versions/" not in request.path
    )


class _Trip(Exchange):
    """A request on the short way; the same object for one request of a connection after another."""

    __slots__ = (
        "_began_s",
        "_body_at",
        "_budget_s",
        "_connection",
        "_data",
        "_id_line",
        "_lease",
        "_long",
        "_pool",
        "_way",
        "asks",
        "ids",
        "says",
    )

    link: ClientConnection
    asks: KnownLine
    says: KnownFields
    ids: Sequence[tuple[bytes, bytes]]

    def __init__(self, way: ShortWay, link: ClientConnection) -> None:
        super().__init__()
        self._way = way
        self.link = link
        self.method = b"POST"
        self.version = "1.1"
        self.keep_alive = True
        self.expects_continue = False
        self.is_started = self.is_whole = True
        self._lease: Lease | None = None
        """What the gate has granted; the long way gives it back where the request goes on there."""
        self._long: BotRequest | None = None
        """The same request on the long way, once it goes on there."""

    def go(self, data: bytes, body_at: int, /) -> bool:
        """Send the request in `data`; False: it needs the long way."""
        way, line, fields, link = self._way, self.asks, self.says, self.link
        try:
            pool, budget_s = way.choose(line.bot, line.routed, _NO_FAILURES)
        except ShardingError:
            return False
        if pool.cold is not None:
            return False  # it has to be entered first
        connection = pool.origin.idle()
        if connection is None:
            return False
        self._began_s = now_s = monotonic()
        if way.gate is not None:
            self._lease = way.admit(line, fields, now_s)
            if self._lease is None:
                pool.origin.put_back(connection)
                return False
        self._data, self._body_at, self._pool, self._connection = data, body_at, pool, connection
        self._id_line, trace = self._ids_of(self.ids) if self.ids else (_ID_LINE % way.front.next_id(), b"")
        timeout_s = fields.head.timeout_s
        if timeout_s is not None and timeout_s < budget_s:
            budget_s = timeout_s
        self._budget_s, self.deadline_s = budget_s, now_s + budget_s
        peer = link.peer
        sent = fields.sent.get(peer[0] if peer else "") or fields.send_for(peer, link.scheme)
        address = pool.origin.address
        tail = way.tail(for_next_hop(budget_s, address.hop_s))
        head = (b"POST ", address.prefix, line.path, address.after_path, sent, self._id_line, trace, tail)
        self.is_over = False
        pool.began()
        pool.budget.asked()
        way.taken += 1
        link.take_up(self)
        if fields.body_bytes < _SPLIT_FROM_BYTES:
            connection.begin_short(self, b"".join((*head, data[body_at:])))
        else:
            connection.begin_short(self, b"".join(head), memoryview(data)[body_at:])
        return True

    def _ids_of(self, ids: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
        """The line of the request's id, and those that trace it."""
        trace = b"".join([header_line(name, value) for name, value in ids if name.lower() != REQUEST_ID])
        own = [value for name, value in ids if name.lower() == REQUEST_ID]
        return _ID_LINE % (own[0] if own else self._way.front.next_id()), trace

    # ── what the connection to the pool says ──────────────────────────────────────────────────────────────────────────

    def answered(self, data: bytes, /) -> bool:
        """Whether these first bytes of an answer were all of it, and plain: then it is sent, and all is over."""
        way = self._way
        end = data.find(b"\r\n\r\n") + 2
        known, timing = way.answer_of(data[:end]), b""
        if known is None:
            known, timing = way.answers.find(data[:end], self._id_line)
        if known is None or len(data) - end - 2 != known.body_bytes or end < 2:
            self._go_long(data)
            return False
        pool, link = self._pool, self.link
        pool_line = b"" if known.has_pool else pool.line
        head = (known.start, timing, self._id_line, pool_line, way.clock.date_line(), known.rest)
        if known.body_bytes < _SPLIT_FROM_BYTES:
            is_sent = link.reply_short(b"".join((*head, data[end + 2 :])))
        else:
            is_sent = link.reply_short(b"".join(head), memoryview(data)[end + 2 :])
        if not is_sent:
            self._go_long(data)
            return False
        now_s = monotonic()
        self.is_over = True
        self._data = b""
        if self._lease is not None:
            self._lease.give_back()
            self._lease = None
        pool.ended(True, now_s - self._began_s, now_s)
        pool.origin.release_short(self._connection, now_s)
        way.front.ended_short(pool, self.asks.bot, known.status, now_s - self._began_s)
        link.finished_short(now_s)
        if known.epoch > way.way.epoch:
            way.way.refresh()
        return True

    def came(self) -> None:
        """See `router.upstream.Asker`: here it is an error."""
        self._go_long(None)
        self._connection.tell()

    # ── what the client's connection says ─────────────────────────────────────────────────────────────────────────────

    def expire(self) -> None:
        """The time is up."""
        self._go_long(None).expire()

    def abandon(self) -> None:
        """The client is gone."""
        self._long = self._go_long(None)
        self._long.abandon()

    def over(self) -> None:
        """After `abandon`."""
        if self._long is not None:
            self._long.is_over = True
            self._long.over()
            self._long = None

    # ── the long way ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _go_long(self, answer: bytes | None) -> BotRequest:
        """The rest of the way is the long one; `answer`: the first bytes of one, which the parser reads next."""
        line, way = self.asks, self._way
        request = BotRequest(way.front, Target(line.bot, versioned=False), line.path)
        request.method, request.target, request.version = self.method, line.path, self.version
        request.headers = self.says.headers + [(name.lower(), value) for name, value in self.ids]
        request.fields = dict(request.headers)
        request.keep_alive, request.expects_continue = True, False
        request.link = self.link
        request.is_started = request.is_whole = True
        request.body = memoryview(self._data)[self._body_at :]
        request.body_bytes = self.says.body_bytes
        request.go_on(
            bot=line.route,
            pool=self._pool,
            connection=self._connection,
            began_s=self._began_s,
            budget_s=self._budget_s,
            request_id=self._id_line[len(_ID_LINE) - len(b"%b\r\n") : -2],
            lease=self._lease,
        )
        self._lease = None
        if answer is not None:
            connection, id_line = self._connection, self._id_line
            connection.on_whole = lambda: way.answers.learn(connection, answer, id_line)
        self.is_over = True
        self._data = b""
        self.link.replace(self, request)
        return request


def _traceparent(ids: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    return next((value for name, value in ids if name.lower() == TRACEPARENT), None)
