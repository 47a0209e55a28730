"""A family's framework, imported when its first bot needs it: declared architectures do without."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.errors import InvalidDocumentError, Problem, TerminalError
from botshard.sharding.ids import Framework as FrameworkName
from kserve_runtimes.core.model import Framework, HeadFramework, Model
from kserve_runtimes.declared.models import DeclaredModels, is_declared
from kserve_runtimes.late import Imports

if TYPE_CHECKING:
    from botshard.bots.backbones import Backbones

__all__ = ["FrameworkUnavailableError", "LateFramework", "import_framework", "make_framework"]

_PROGRAM_MODULES = (
    "torch._export.serde.serialize",
    "torch._functorch.aot_autograd",
    "torch._export.db.logging",
    "torch._export.passes.add_runtime_assertions_for_constraints_pass",
    "torch._export.passes.collect_tracepoints_pass",
    "torch._inductor.sizevars",
    "torch.export._leakage_detection_utils",
    "torch.export._trace",
    "torch.export._unlift",
    "torch.fx.experimental.validator",
    "torch.utils.serialization.config",
    "sympy.tensor.tensor",
)
"""What loading an exported program imports: nearly all of it by way of the first two, and the rest is 45 ms."""


class FrameworkUnavailableError(TerminalError):
    """A bot needs a framework that cannot be imported here."""


def import_framework(name: FrameworkName, /, *, programs: bool = False) -> None:
    """Import a framework and what loads its models, starting nothing.

    Args:
        name: which.
        programs: also what PyTorch imports when it loads its first exported program: 2.5 s and 84 MiB here.
    """
    match name:
        case "torch":
            import kserve_runtimes.torch.framework

            if programs:
                for module in _PROGRAM_MODULES:
                    # Not public: where a release has renamed one, the first program costs more, and nothing else.
                    with suppress(ImportError):
                        import_module(module)
        case "onnx":
            import kserve_runtimes.onnx.framework
        case "kserve":
            import kserve_runtimes.kserve.framework
        case _:
            import kserve_runtimes.tensorflow.framework  # noqa: F401 - imported to be there


def make_framework(
    name: FrameworkName,
    /,
    *,
    threads: int,
    device: str = "cpu",
    encoding_cache_bytes: int = 0,
    model_classes: Collection[str] = (),
    scratch: Path | None = None,
) -> Framework:
    """What loads models of a framework, imported now; it starts threads of its own when it is used.

    Args:
        name: which.
        threads: that run models, and that an operation may use.
        device: `auto`, `cpu` or `cuda`; of PyTorch alone.
        encoding_cache_bytes: bound on what a backbone remembers; 0: nothing.
        model_classes: of this image that bots may name, for framework `kserve`.
        scratch: folder on the artifacts' file system, for what that framework keeps of them; None: a temporary one.

    Raises: InvalidDocumentError for `cuda` where there is none.
    """
    match name:
        case "torch":
            from kserve_runtimes.torch.framework import TorchFramework

            return TorchFramework(threads=threads, device=device, encoding_cache_bytes=encoding_cache_bytes)
        case "onnx":
            from kserve_runtimes.onnx.framework import OnnxFramework

            return OnnxFramework(threads=threads)
        case "kserve":
            from kserve_runtimes.kserve.framework import KServeFramework

            return KServeFramework(classes=model_classes, scratch=scratch)
        case _:
            from kserve_runtimes.tensorflow.framework import TensorFlowFramework

            return TensorFlowFramework(threads=threads)


class LateFramework:
    """The framework of a replica's bots. Used by several loaders' threads."""

    def __init__(
        self, name: FrameworkName, imports: Imports, make: Callable[[], Framework], *, declared: DeclaredModels | None
    ) -> None:
        """Nothing is imported until a bot needs it.

        Args:
            name: the family's.
            imports: where the import takes its turn.
            make: imports the framework and gives it.
            declared: loads declared architectures without it; None: it loads them itself.
        """
        self.name: str = name
        self._imports = imports
        self._make = make
        self._declared = declared
        self._framework: Framework | None = None
        self._lock = Lock()

    @property
    def is_used(self) -> bool:
        """Whether a bot has needed the framework."""
        return self._framework is not None

    def load(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec]) -> Model:
        """The model; see `kserve_runtimes.core.model.Framework`.

        Raises: FrameworkUnavailableError, and what the framework raises.
        """
        declared = self._declared
        if declared is not None and is_declared(spec):
            return declared.load(spec, folder, inputs)
        return self._there(f"bot {spec.id}").load(spec, folder, inputs)

    def load_head(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec], *, backbones: Backbones) -> Model:
        """The model; see `kserve_runtimes.core.model.HeadFramework`.

        Raises: FrameworkUnavailableError, and what the framework raises.
        """
        framework = self._there(f"bot {spec.id}")
        if isinstance(framework, HeadFramework):
            return framework.load_head(spec, folder, inputs, backbones=backbones)
        expected = f"left out: {self.name} has no backbones"
        raise InvalidDocumentError(f"bot {spec.id}", [Problem.of("backbone", spec.backbone, expected)])

    @property
    def shared_bytes(self) -> int:
        """Measured bytes of the backbones in memory."""
        return self._framework.shared_bytes if isinstance(self._framework, HeadFramework) else 0

    @property
    def device_bytes(self) -> int | None:
        """Bytes of a GPU's memory in use; None: none is used."""
        return self._framework.device_bytes if isinstance(self._framework, HeadFramework) else None

    @property
    def device_free_bytes(self) -> int | None:
        """Bytes of that GPU's memory that nobody uses; None: none is used."""
        return self._framework.device_free_bytes if isinstance(self._framework, HeadFramework) else None

    def use(self) -> None:
        """Import it now.

        Raises: FrameworkUnavailableError, and what the framework raises when it is made.
        """
        self._there("the replica")

    def _there(self, who: str) -> Framework:
        with self._lock:
            if self._framework is None:
                try:
                    with self._imports.alone():
                        framework = self._make()
                except ImportError as error:
                    reason = f"{who} needs {self.name}, which cannot be imported here: {error}"
                    raise FrameworkUnavailableError(reason) from error
                # No bot of this framework is there yet, so nothing is frozen that would have to be collected later.
                gc.freeze()
                self._framework = framework
            return self._framework
