"""Which store and which stack a command works on.

In this order: `--store`, `--folder`, `BOTSHARD_STORE`, `BOTSHARD_FOLDER`, the folder `.botshard` here. A folder means
the store of the stack that runs in it, or, where none does, `store` below it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from botshard.bots.errors import UnknownBotError
from botshard.cli.errors import NoStoreError, RouterUnavailableError, WrongUsageError
from botshard.local.settings import StackFolder
from botshard.sharding.errors import InvalidDocumentError
from botshard.store.base import ObjectStore
from botshard.store.urls import open_store

__all__ = [
    "FOLDER_VARIABLE",
    "KEY_VARIABLE",
    "STORE_VARIABLE",
    "URL_VARIABLE",
    "Place",
    "Session",
    "Stack",
    "api_key",
    "find_place",
    "open_place",
    "router_url",
    "session",
]

STORE_VARIABLE = "BOTSHARD_STORE"
FOLDER_VARIABLE = "BOTSHARD_FOLDER"
URL_VARIABLE = "BOTSHARD_URL"
KEY_VARIABLE = "BOTSHARD_API_KEY"
"""An API key, for routers that ask who asks. No option: command lines are seen by others."""
DEFAULT_FOLDER = Path(".botshard")


@dataclass(frozen=True, slots=True)
class Stack:
    """What a stack says of itself in its folder."""

    url: str
    """Of its router."""
    store_url: str
    is_running: bool
    """False: it was killed and could not tidy up."""
    group_files: tuple[Path, ...] = ()
    """Files and folders that it reads its pool groups from."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command looks."""

    store_url: str
    said_by: str
    """What chose the store, for people: `--store`, `the stack in /srv/bots` …"""
    folder: StackFolder
    stack: Stack | None
    """The one in the folder; None where none has been started or the last was stopped."""

    @property
    def own_stack(self) -> Stack | None:
        """The stack in the folder if it runs and serves this very store."""
        stack = self.stack
        return stack if stack is not None and stack.is_running and stack.store_url == self.store_url else None

    @property
    def is_down(self) -> bool:
        """Whether the store is the folder's own and no stack runs in the folder: then nobody serves from it."""
        is_own = self.store_url == self.folder.store.as_uri()
        return is_own and (self.stack is None or not self.stack.is_running)


@dataclass(frozen=True, slots=True)
class Session:
    """An open store and how it was found."""

    store: ObjectStore
    place: Place


def find_place(store: str | None, folder: Path | None, environ: Mapping[str, str], /) -> Place:
    """What the options and the environment mean. Reads the folder's `run/stack.json`, opens nothing."""
    named_folder = folder or (Path(environ[FOLDER_VARIABLE]) if environ.get(FOLDER_VARIABLE) else None)
    stack_folder = StackFolder((named_folder or DEFAULT_FOLDER).absolute())
    stack = _read_stack(stack_folder)
    if store:
        return Place(store, "--store", stack_folder, stack)
    if folder is None and environ.get(STORE_VARIABLE):
        return Place(environ[STORE_VARIABLE], STORE_VARIABLE, stack_folder, stack)
    said_by = "--folder" if folder else FOLDER_VARIABLE if named_folder else f"the default folder, {DEFAULT_FOLDER}"
    if stack is not None:
        return Place(stack.store_url, f"the stack in {stack_folder.path}", stack_folder, stack)
    return Place(stack_folder.store.as_uri(), said_by, stack_folder, None)


def open_place(place: Place, environ: Mapping[str, str], /, *, create: bool = False) -> ObjectStore:
    """The store of `place`. A folder that is not a store yet is made one only with `create`.

    Raises: WrongUsageError for a URL or environment that cannot be right; NoStoreError; StoreError.
    """
    try:
        parts = urlsplit(place.store_url)
    except ValueError:
        # Not shown: what is no URL may be anything, credentials included.
        raise WrongUsageError("store URL: must be file:///absolute/folder or s3://bucket/prefix") from None
    path = unquote(parts.path)
    is_folder = parts.scheme == "file" and parts.netloc in ("", "localhost") and path.startswith("/")
    if is_folder and not create and not (Path(path) / ".locks").is_dir():
        raise NoStoreError(
            f"there is no store in {path} (chosen by {place.said_by}); `botshard up` or `botshard publish` makes one, "
            f"--store and {STORE_VARIABLE} name another"
        )
    try:
        return open_store(place.store_url, environ)
    except InvalidDocumentError as error:
        raise WrongUsageError(str(error)) from error


@contextmanager
def session(store: str | None, folder: Path | None, /, *, create: bool = False) -> Iterator[Session]:
    """An open store for the length of one command."""
    place = find_place(store, folder, os.environ)
    opened = open_place(place, os.environ, create=create)
    try:
        yield Session(opened, place)
    except UnknownBotError as error:
        error.add_note(f"looked in {opened.url} ({place.said_by})")
        raise
    finally:
        opened.close()


def router_url(url: str | None, place: Place, environ: Mapping[str, str], /) -> str:
    """Where the router answers: `--url`, `BOTSHARD_URL`, or the stack that runs in the folder.

    Raises: WrongUsageError, RouterUnavailableError.
    """
    named = url or environ.get(URL_VARIABLE)
    if named:
        return _checked_url(named)
    if place.stack is not None and place.stack.is_running:
        return place.stack.url
    raise RouterUnavailableError(
        f"no stack runs in {place.folder.path}; start one with `botshard up`, or name a router with --url"
    )


def api_key(environ: Mapping[str, str], /) -> str:
    """The key to show to the router; empty where there is none.

    Raises: WrongUsageError for what cannot stand in a header; it is not repeated.
    """
    key = environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise WrongUsageError(f"{KEY_VARIABLE}: must be a key or a token, without spaces")
    return key


def _checked_url(url: str) -> str:
    wanted = "must be http://host[:port] or https://host[:port], without a user or password"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or parts.query or parts.fragment or not url.isascii() or " " in url:
        raise WrongUsageError(f"router URL: {wanted}")
    return url.rstrip("/")


def _read_stack(folder: StackFolder) -> Stack | None:
    if not folder.stack.exists():
        return None
    from botshard.local.front import running_stack
    from botshard.local.processes import adopt

    said = running_stack(folder)
    try:
        if said is None:
            return None
        process = adopt(int(str(said["keeperPid"])), int(str(said["keeperTicks"])))
        files = said.get("groupFiles")
        paths = tuple(Path(str(path)) for path in files) if isinstance(files, list) else ()
        stack = Stack(str(said["url"]), str(said["storeUrl"]), is_running=process is not None, group_files=paths)
    except (KeyError, ValueError):
        return None
    if process is not None:
        process.close()
    return stack
