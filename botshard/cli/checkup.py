"""`botshard doctor`: everything that can be in the way, each with what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from botshard.cli.checks import Check, Verdict, machine_checks
from botshard.cli.options import AsJson, FolderOption, StoreOption, UrlOption
from botshard.cli.output import print_document

if TYPE_CHECKING:
    from botshard.cli.context import Place

__all__ = ["doctor"]

_ROUTER_TIMEOUT_S = 5.0
_COLORS = {Verdict.OK: typer.colors.GREEN, Verdict.WARN: typer.colors.YELLOW, Verdict.FAIL: typer.colors.RED}


def doctor(
    *, store: StoreOption = None, folder: FolderOption = None, url: UrlOption = None, as_json: AsJson = False
) -> None:
    """Check this machine, the store and the stack.

    Each line is ok, warn (it works, or will) or fail (something will not work), and says what to do. The store is
    written to: one object of the doctor's own, removed at once.

    Examples:
      botshard doctor

      botshard doctor --store "s3://bots/prod?endpoint=http://127.0.0.1:9000"
    """
    checks: list[Check] = []
    for check in _checks(store, folder, url):
        checks.append(check)
        if not as_json:
            _print(check)
    failed = any(check.verdict is Verdict.FAIL for check in checks)
    if as_json:
        print_document({"ok": not failed, "checks": checks})
    if failed:
        raise typer.Exit(1)


def _checks(store: StoreOption, folder: FolderOption, url: UrlOption) -> Iterator[Check]:
    """Each check as soon as it is made: some of them wait for a network."""
    from botshard.cli.context import find_place
    from botshard.cli.requirements import REQUIREMENTS, check_requirement

    place = find_place(store, folder, os.environ)
    yield from machine_checks(place.folder.path)
    yield from (check_requirement(needed) for needed in REQUIREMENTS)
    yield from _store(place)
    yield _stack(place)
    yield from _router(place, url)


def _store(place: Place) -> Iterator[Check]:
    from botshard.cli.context import open_place
    from botshard.cli.errors import NoStoreError
    from botshard.cli.store_checks import store_checks
    from botshard.sharding.errors import WorldError

    try:
        opened = open_place(place, os.environ)
    except NoStoreError:
        found = f"none yet at {place.store_url} ({place.said_by})"
        yield Check("store", Verdict.WARN, found, "botshard up or botshard publish makes it; --store names another")
        return
    except WorldError as error:
        yield Check("store", Verdict.FAIL, str(error).replace("\n", "; "), "botshard doctor --help tells what to give")
        return
    try:
        yield from store_checks(opened)
    finally:
        opened.close()


def _stack(place: Place) -> Check:
    stack, where = place.stack, place.folder.path
    if stack is None:
        return Check("stack", Verdict.WARN, f"none runs in {where}", "botshard up starts one")
    if not stack.is_running:
        return Check("stack", Verdict.WARN, f"the one in {where} was killed", "botshard up tidies up and goes on")
    if stack.store_url != place.store_url:
        found = f"the one in {where} serves {stack.store_url}, not this store"
        return Check("stack", Verdict.WARN, found, "leave out --store, or name another --folder")
    return Check("stack", Verdict.OK, f"runs in {where}, router at {stack.url}")


def _router(place: Place, url: str | None) -> Iterator[Check]:
    from botshard.cli.context import router_url
    from botshard.cli.errors import RouterUnavailableError, WrongUsageError
    from botshard.cli.router_client import RouterClient

    try:
        found = router_url(url, place, os.environ)
    except RouterUnavailableError:
        return  # no stack: said already
    except WrongUsageError as error:
        yield Check("router", Verdict.FAIL, str(error), "mend --url or BOTSHARD_URL")
        return
    try:
        with RouterClient(found, timeout_s=_ROUTER_TIMEOUT_S) as router:
            answer = router.get("/v2/health/ready")
    except RouterUnavailableError as error:
        yield Check("router", Verdict.FAIL, str(error), "botshard up starts one; --url names another")
        return
    if answer.is_good:
        yield Check("router", Verdict.OK, f"{found} is ready")
    else:
        yield Check("router", Verdict.FAIL, f"{found}: {answer.error}", "wait a moment; the stack's log says more")


def _print(check: Check) -> None:
    from botshard.cli.output import plain, wants_color

    advice = f" → {check.advice}" if check.advice else ""
    typer.secho(f"{check.verdict:4}", nl=False, fg=_COLORS[check.verdict], color=None if wants_color() else False)
    typer.echo(f"  {check.what:17}  {plain(check.found)}{advice}")
