"""Loads bots whose model is a class of this image, a subclass of `kserve.Model`, and their artifact its data.

The class is code of the image, by whoever builds it; an artifact names it and cannot bring it. Which classes it may
name is a setting, empty by default. One object of the class is one bot.
"""

from __future__ import annotations

import inspect
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.store.atomic import scratch_folder
from kserve_runtimes.core.malloc import allocated_bytes
from kserve_runtimes.core.model import Model as LoadedModel
from kserve_runtimes.kserve.model import ModelLoop, OwnModel
from kserve_runtimes.serving.sdk import Model

__all__ = ["KServeFramework"]


class KServeFramework:
    """`kserve.Model` subclasses."""

    name = "kserve"

    def __init__(self, *, classes: Collection[str], scratch: Path | None) -> None:
        self._classes = classes
        self._scratch = scratch
        self._measuring = threading.Lock()
        self._loop = ModelLoop()

    def load(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec]) -> LoadedModel:
        """The model; see `kserve_runtimes.core.model.Framework`.

        As KServe's own servers do it: the object is made, `load()` is called unless it has loaded itself, and it has to
        be `ready` then.
        """
        own_class = self._class(spec)
        source = folder / str(spec.model["file"])
        with ExitStack() as stack:
            kept = stack.enter_context(_kept(source, self._scratch))
            with self._measuring:
                before = allocated_bytes()
                model = _make(own_class, spec.id, kept)
                if not model.ready:
                    model.load()
                after = allocated_bytes()
            if not model.ready:
                raise _refused(spec, str(spec.model["class"]), "a class whose load() sets self.ready")
            model.start()
            files_bytes = sum(file.stat().st_size for file in _files(source))
            taken_bytes = 0 if before is None or after is None else after - before
            return OwnModel(
                model,
                spec,
                inputs,
                loop=self._loop,
                footprint_bytes=max(files_bytes, taken_bytes),
                end=stack.pop_all().close,
            )

    def _class(self, spec: BotSpec) -> type[Any]:
        name = str(spec.model["class"])
        if name not in self._classes:
            allowed = ", ".join(sorted(self._classes)) or "none"
            expected = f"a class that the pool's RUNTIME_MODEL_CLASSES allows ({allowed})"
            raise _refused(spec, name, expected)
        module, _, own_name = name.partition(":")
        try:
            found = getattr(import_module(module), own_name)
        except (ImportError, AttributeError) as error:
            raise _refused(spec, f"{name} ({error})", "a class that this pool's image has") from error
        if not isinstance(found, type) or not issubclass(found, Model):
            raise _refused(spec, name, "a subclass of kserve.Model")
        return found


def _make(own_class: type[Any], name: str, model_dir: Path) -> Any:
    """The object. `model_dir` is there before its constructor runs, and is given to one that asks for it."""
    model: Any = own_class.__new__(own_class, name)
    model.model_dir = str(model_dir)
    asks = "model_dir" in inspect.signature(own_class).parameters
    own_class.__init__(model, name, **({"model_dir": str(model_dir)} if asks else {}))
    return model


@contextmanager
def _kept(source: Path, scratch: Path | None) -> Iterator[Path]:
    """A folder with the model's files for as long as the model lives: the cache may remove its own.

    Links where the file system allows it, else copies. A folder that a killed process left is swept with the cache's
    scratch.
    """
    with ExitStack() as stack:
        try:
            if scratch is None:
                raise FileNotFoundError
            scratch.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(scratch_folder(scratch))
        except OSError:  # no cache of ours to write to
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="model-")))
        root = source if source.is_dir() else source.parent
        for file in _files(source):
            target = folder / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(file, target)
        yield folder


def _link(file: Path, target: Path) -> None:
    with suppress(OSError):
        target.hardlink_to(file)
        return
    shutil.copyfile(file, target)


def _files(source: Path) -> list[Path]:
    return [source] if source.is_file() else sorted(file for file in source.rglob("*") if file.is_file())


def _refused(spec: BotSpec, found: str, expected: str) -> InvalidDocumentError:
    return InvalidDocumentError(f"bot {spec.id}", [Problem("model.class", found, expected)])
