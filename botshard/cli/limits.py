"""`botshard limits`: how much tenants and bots may be asked where access control is on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from botshard.cli.errors import WrongUsageError
from botshard.cli.options import AsJson, FolderOption, StoreOption
from botshard.cli.output import Column, note, print_document, print_table

if TYPE_CHECKING:
    from botshard.store.access_limits import AccessLimits, Limit

__all__ = ["limits"]

K = TypeVar("K", bound=str)


def limits(
    action: Annotated[Literal["show", "set", "unset"], typer.Argument(help="What to do.")],
    *,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant; *: of keys for all tenants.")] = None,
    bot: Annotated[str | None, typer.Option(help="Of this bot.")] = None,
    each: Annotated[
        Literal["tenant", "bot"] | None, typer.Option(help="Of each tenant, or bot, that has none of its own.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second.")] = None,
    burst: Annotated[int | None, typer.Option(min=1, help="Requests at once after a pause.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests in flight.")] = None,
    shared: Annotated[
        int | None, typer.Option(min=0, help="In flight of all tenants, from where on shares are equal; 0: none.")
    ] = None,
    routers: Annotated[int | None, typer.Option(min=1, help="Router replicas that clients are spread over.")] = None,
    store: StoreOption = None,
    folder: FolderOption = None,
    as_json: AsJson = False,
) -> None:
    """Show and set what tenants and bots may ask, as rates and as requests in flight.

    `set` puts a whole limit in the place of the one before; what it does not name is not limited. Routers follow
    within a second.

    Examples:
      botshard limits show

      botshard limits set --each tenant --rate 50 --burst 100 --concurrency 16

      botshard limits set --bot acme-banking --concurrency 8

      botshard limits set --shared 64

      botshard limits unset --tenant acme
    """
    from botshard.cli.context import session
    from botshard.store.access_limits import Limit, change_limits, read_limits

    if action == "show":
        with session(store, folder) as opened:
            found, url = read_limits(opened.store), opened.store.url
        _show(found, url, as_json=as_json)
        return
    named = [name for name in (tenant, bot, each) if name is not None]
    settings = shared is not None or routers is not None
    if len(named) > 1 or (not named and not settings):
        raise WrongUsageError(f"{action} takes one of --tenant NAME, --bot NAME and --each, or --shared or --routers")
    limit = Limit(rate, burst, concurrency)
    if action == "set" and named and limit.is_none:
        raise WrongUsageError("set takes --rate, --concurrency or both; `unset` takes a limit away")
    if burst is not None and rate is None:
        raise WrongUsageError("--burst goes with --rate")
    if action == "unset" and (not limit.is_none or settings):
        raise WrongUsageError("unset takes --tenant NAME, --bot NAME or --each and nothing else")
    wanted = limit if action == "set" else None

    def edit(before: AccessLimits) -> AccessLimits:
        after = _with(before, tenant, bot, each, limit=wanted)
        if shared is not None:
            after = replace(after, shared_concurrency=shared or None)
        return after if routers is None else replace(after, routers=routers)

    _check(tenant, bot)
    with session(store, folder, create=True) as opened:
        after, url = change_limits(opened.store, edit), opened.store.url
    _show(after, url, as_json=as_json)


def _check(tenant: str | None, bot: str | None) -> None:
    from botshard.sharding.ids import check_bot_id
    from botshard.store.access_keys import check_key_tenant

    problems = [
        None if tenant is None else check_key_tenant(tenant, "--tenant"),
        None if bot is None else check_bot_id(bot, "--bot"),
    ]
    for problem in problems:
        if problem is not None:
            raise WrongUsageError(str(problem))


def _with(
    before: AccessLimits, tenant: str | None, bot: str | None, each: str | None, *, limit: Limit | None
) -> AccessLimits:
    from botshard.sharding.ids import BotId, TenantId
    from botshard.store.access_limits import UNLIMITED

    if each == "tenant":
        return replace(before, tenant=limit or UNLIMITED)
    if each == "bot":
        return replace(before, bot=limit or UNLIMITED)
    if tenant is not None:
        return replace(before, tenants=_changed(before.tenants, TenantId(tenant), limit))
    return before if bot is None else replace(before, bots=_changed(before.bots, BotId(bot), limit))


def _changed(named: Mapping[K, Limit], name: K, limit: Limit | None) -> dict[K, Limit]:
    others = {other: one for other, one in named.items() if other != name}
    return others if limit is None else {**others, name: limit}


def _show(found: AccessLimits, url: str, *, as_json: bool) -> None:
    from botshard.store.access_limits import encode_limits

    if as_json:
        import json

        print_document({"store": url, **json.loads(encode_limits(found))})
        return
    rows = [("each tenant", "", found.tenant), ("each bot", "", found.bot)]
    rows += [("tenant", name, limit) for name, limit in sorted(found.tenants.items())]
    rows += [("bot", name, limit) for name, limit in sorted(found.bots.items())]
    columns = (
        Column("OF"),
        Column("NAME"),
        Column("PER SECOND", right=True),
        Column("BURST", right=True),
        Column("IN FLIGHT", right=True),
    )
    print_table(columns, ((kind, name, one.rate_per_s, one.burst, one.concurrency) for kind, name, one in rows))
    shared = "nobody makes room for others" if found.shared_concurrency is None else f"{found.shared_concurrency}"
    note(f"in {url}; in flight of all tenants before shares are equal: {shared}; router replicas: {found.routers}")
