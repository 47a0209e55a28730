"""`botshard key`: API keys of those who may ask the router, made, listed, withdrawn."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from botshard.cli.errors import CommandError, WrongUsageError
from botshard.cli.options import AsJson, FolderOption, StoreOption
from botshard.cli.output import Column, note, print_document, print_table

if TYPE_CHECKING:
    from botshard.store.access_keys import AccessKey

__all__ = ["key"]

_LONGEST_S = 100 * 365 * 86_400


def key(
    action: Annotated[Literal["create", "list", "revoke"], typer.Argument(help="What to do.")],
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Of keys to revoke.")] = None,
    *,
    tenant: Annotated[str | None, typer.Option(help="Whose bots the key may ask; *: all.")] = None,
    role: Annotated[
        list[str] | None, typer.Option(help="infer or admin; may be repeated. By default infer.", show_default=False)
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="TIME", help="Such as 12h or 90d; without: it does not expire.")
    ] = None,
    text: Annotated[str, typer.Option("--note", help="Whose it is, or what for; one line.", show_default=False)] = "",
    store: StoreOption = None,
    folder: FolderOption = None,
    as_json: AsJson = False,
) -> None:
    """Make, list and revoke the API keys that a router asks for where access control is on.

    A key is shown once, when it is made; the store has only its SHA-256. Clients send it as `Authorization: Bearer
    KEY` or `X-Api-Key: KEY`. A revoked key is refused as soon as routers have looked at the store, within a second.
    The role admin sees the whole fleet and therefore goes with all tenants only.

    Examples:
      botshard key create --tenant acme --expires-in 90d --note "their web shop"

      botshard key create --tenant "*" --role infer --role admin

      botshard key list --tenant acme

      botshard key revoke k3v9x2m4q7tz
    """
    match action:
        case "create":
            _create(tenant, role or ["infer"], expires_in, text, store, folder, as_json=as_json)
        case "list":
            _list(tenant, store, folder, as_json=as_json)
        case "revoke":
            _revoke(ids or [], store, folder, as_json=as_json)


def _create(
    tenant: str | None,
    roles: list[str],
    expires_in: str | None,
    text: str,
    store: str | None,
    folder: Path | None,
    *,
    as_json: bool,
) -> None:
    from botshard.cli.context import session
    from botshard.sharding.ids import TenantId
    from botshard.store.access_keys import Role, change_keys, check_key_tenant, new_key

    if tenant is None or (problem := check_key_tenant(tenant, "--tenant")) is not None:
        raise WrongUsageError("create takes --tenant NAME, or --tenant '*' for all" if tenant is None else str(problem))
    unknown = [one for one in roles if one not in list(Role)]
    if unknown:
        raise WrongUsageError(f"--role: must be infer or admin, found {unknown[0]!r}")
    now_s = int(time.time())
    made, shown = new_key(
        tenant=TenantId(tenant),
        roles=map(Role, roles),
        now_s=now_s,
        expires_at_s=None if expires_in is None else now_s + _seconds(expires_in),
        note=text,
    )
    with session(store, folder, create=True) as opened:
        change_keys(opened.store, lambda keys: keys.with_key(made))
        url = opened.store.url
    if as_json:
        print_document({"store": url, "key": shown, **_told(made, now_s)})
        return
    print(shown)
    note(f"key {made.id} for {_whose(made)}, stored in {url}; it is shown this once")


def _list(tenant: str | None, store: str | None, folder: Path | None, *, as_json: bool) -> None:
    from botshard.cli.context import session
    from botshard.store.access_keys import read_keys

    with session(store, folder) as opened:
        held = read_keys(opened.store)
        url = opened.store.url
    now_s = int(time.time())
    listed = sorted(held.keys.values(), key=lambda one: (one.tenant, one.created_at_s, one.id))
    listed = [one for one in listed if tenant in (None, one.tenant)]
    if as_json:
        print_document({"store": url, "keys": [_told(one, now_s) for one in listed]})
    elif listed:
        columns = (
            Column("ID"),
            Column("TENANT"),
            Column("ROLES"),
            Column("CREATED"),
            Column("EXPIRES"),
            Column("NOTE"),
        )
        rows = (
            (one.id, one.tenant, ",".join(sorted(one.roles)), _day(one.created_at_s), _end(one, now_s), one.note)
            for one in listed
        )
        print_table(columns, rows)
    else:
        note(f"no keys in {url}")


def _revoke(ids: list[str], store: str | None, folder: Path | None, *, as_json: bool) -> None:
    from botshard.cli.context import session
    from botshard.store.access_keys import AccessKeys, change_keys, id_of_key

    if not ids:
        raise WrongUsageError("revoke takes the ids of keys, which `key list` shows")
    # Who has the whole key at hand need not cut it up; what is shown and stored is its id.
    wanted = [id_of_key(one) or one for one in ids]

    def without(keys: AccessKeys) -> AccessKeys:
        missing = [one for one in wanted if one not in keys.keys]
        if missing:
            raise CommandError(f"there is no key {missing[0][:64]!r}; nothing was revoked")
        return keys.without(wanted)

    with session(store, folder) as opened:
        change_keys(opened.store, without)
    if as_json:
        print_document({"revoked": wanted})
        return
    print_table((Column("ID"), Column("STATUS")), ((one, "revoked") for one in wanted))


def _seconds(text: str) -> int:
    from botshard.sharding.units import parse_duration_s

    try:
        days = text.removesuffix("d")
        seconds = int(float(days) * 86_400 if days != text else parse_duration_s(text))
    except (ValueError, OverflowError):
        seconds = 0
    if not 0 < seconds <= _LONGEST_S:
        raise WrongUsageError(f"--expires-in: must be a time such as 12h or 90d, found {text!r}")
    return seconds


def _told(one: AccessKey, now_s: int) -> dict[str, object]:
    return {
        "id": one.id,
        "tenant": one.tenant,
        "roles": sorted(one.roles),
        "createdAt": one.created_at_s,
        "expiresAt": one.expires_at_s,
        "expired": one.is_expired(now_s),
        "note": one.note,
    }


def _whose(one: AccessKey) -> str:
    return "all tenants" if one.tenant == "*" else f"tenant {one.tenant}"


def _end(one: AccessKey, now_s: int) -> str:
    if one.expires_at_s is None:
        return "never"
    return ("expired " if one.is_expired(now_s) else "") + _day(one.expires_at_s)


def _day(at_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_s))
