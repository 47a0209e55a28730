"""`botshard init` and `botshard publish`: from nothing to a version in the catalog."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from botshard.cli.errors import CommandError
from botshard.cli.options import AsJson, FolderOption, StoreOption
from botshard.cli.output import Column, note, print_document, print_table, progress_bar

__all__ = ["init", "publish"]

_MOST_ROWS = 20
"""Folders that are listed one by one after a publish; of more only the numbers are told, and every refused one."""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make; its name becomes the bot's id.")],
    *,
    framework: Annotated[Literal["torch", "tensorflow", "onnx"], typer.Option(help="What the model is for.")] = "torch",
    kind: Annotated[Literal["text", "tensor"], typer.Option(help="What clients send.")] = "text",
    tenant: Annotated[str, typer.Option(help="The customer; a bot keeps its tenant for ever.")] = "acme",
    as_json: AsJson = False,
) -> None:
    """Make a folder with a bot to start from.

    With torch and onnx it can be published as it is; for TensorFlow, `python make_model.py` in the folder writes its
    model.

    Examples:
      botshard init my-bot

      botshard init bots/acme-banking --tenant acme --kind tensor
    """
    from botshard.bots.template import TemplateFramework, TemplateKind, write_template
    from botshard.sharding.errors import InvalidDocumentError
    from botshard.sharding.ids import check_tenant_id

    problem = check_tenant_id(tenant)
    if problem is not None:
        raise InvalidDocumentError(str(folder), [problem])
    try:
        files = write_template(folder, framework=TemplateFramework(framework), kind=TemplateKind(kind), tenant=tenant)
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror or error}; choose a folder that can be written") from error
    if as_json:
        print_document({"bot": folder.resolve().name, "folder": folder, "files": files})
        return
    for path in files:
        print(path)
    first = f"cd {folder} && python make_model.py, then: " if framework == "tensorflow" else ""
    note(f"next: {first}botshard publish {folder}")


def publish(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER…", help="Folders, one a bot.", show_default=False)],
    *,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Folders that are read or sent at once.")] = 8,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Publish the good ones although some are bad.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, store nothing.")] = False,
    store: StoreOption = None,
    folder: FolderOption = None,
    as_json: AsJson = False,
) -> None:
    """Check folders of bots and store each as a new version.

    Everything is checked before anything is stored. Publishing the same again changes nothing, so a command that was
    interrupted is simply given again: it publishes what is left.

    Examples:
      botshard publish my-bot

      botshard publish bots/* --keep-going

      botshard publish bots/* --dry-run --json
    """
    from botshard.bots.publish import publish as publish_folders
    from botshard.cli.context import session
    from botshard.cli.publish_view import problem_lines, summarize

    started_s = time.monotonic()
    try:
        with session(store, folder, create=True) as opened, progress_bar("publishing") as progress:
            results = publish_folders(
                opened.store,
                folders,
                now_s=int(time.time()),
                workers=workers,
                progress=progress,
                dry_run=dry_run,
                keep_going=keep_going,
            )
            url = opened.store.url
    except KeyboardInterrupt:
        note("interrupted; what is published is whole, and the same command goes on with the rest")
        raise
    summary = summarize(results, store=url, dry_run=dry_run, took_s=time.monotonic() - started_s)
    if as_json:
        print_document(summary)
    elif len(summary.folders) <= _MOST_ROWS:
        columns = (Column("FOLDER"), Column("BOT"), Column("VERSION", right=True), Column("STATUS"))
        print_table(columns, ((one.folder, one.bot, one.version, one.status) for one in summary.folders))
    for line in problem_lines(results):
        note(line)
    if not as_json:
        note(summary.sentence)
    if summary.refused:
        raise typer.Exit(1)
