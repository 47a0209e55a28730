"""Where PyTorch computes, and the way there and back. Everything else is written without regard to it."""

from __future__ import annotations

import torch

from botshard.oip.tensors import Array
from botshard.sharding.errors import InvalidDocumentError, Problem

__all__ = ["Device"]


class Device:
    """A GPU, or the processor's own memory, where nothing has to be moved."""

    def __init__(self, wanted: str = "auto", /) -> None:
        """`wanted` is `cpu`, `cuda`, or `auto`: a GPU where PyTorch sees one.

        Raises: InvalidDocumentError for `cuda` where there is none.
        """
        has_cuda = wanted != "cpu" and torch.cuda.is_available()
        if wanted == "cuda" and not has_cuda:
            expected = "auto or cpu, since PyTorch sees no GPU here (a driver, and a PyTorch built for it, are needed)"
            raise InvalidDocumentError("environment of the replica", [Problem.of("RUNTIME_DEVICE", wanted, expected)])
        self.torch = torch.device("cuda" if has_cuda else "cpu")

    @property
    def is_cuda(self) -> bool:
        """Whether it has memory of its own."""
        return self.torch.type == "cuda"

    @property
    def used_bytes(self) -> int | None:
        """Bytes of its memory that this process uses; None: it has none of its own."""
        return torch.cuda.memory_allocated(self.torch) if self.is_cuda else None

    @property
    def free_bytes(self) -> int | None:
        """Bytes of its memory that nobody uses, what PyTorch only keeps for later counted in; None: it has none."""
        if not self.is_cuda:
            return None
        free, _ = torch.cuda.mem_get_info(self.torch)
        return free + torch.cuda.memory_reserved(self.torch) - torch.cuda.memory_allocated(self.torch)

    def place(self, tensor: torch.Tensor, /) -> torch.Tensor:
        """Weights, for good: on the CPU the tensor itself, which may be mapped."""
        return tensor.to(self.torch)

    def put(self, array: Array, /) -> torch.Tensor:
        """A batch on its way in; the copy goes on while the next is prepared."""
        # Binary inputs are read-only views of the request's body; PyTorch wants memory that it might write to.
        tensor = torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else array.copy())
        return tensor.pin_memory().to(self.torch, non_blocking=True) if self.is_cuda else tensor

    def get(self, tensor: torch.Tensor, /) -> Array:
        """A result, once it is there."""
        array: Array = tensor.cpu().numpy()
        return array
