"""`keep`: hands an output of the model to the client as it is, beside what other steps make."""

from __future__ import annotations

from typing import Literal

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters
from botshard.processing.scope import Column, Scope
from botshard.processing.step import Apply, Phase, Step

__all__ = ["STEP", "KeepParameters"]

_Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]


class KeepParameters(Parameters):
    """`input` is the model's name of the output; it may be left out where the model has only one."""

    output: str
    input: str | None = None
    datatype: _Datatype = "FP32"


def _compile(parameters: KeepParameters, scope: Scope) -> Apply:
    output = scope.make("output", parameters.output, Column(parameters.datatype, None))
    name = parameters.input

    def apply(frame: Frame) -> None:
        frame.tensors[output] = frame.tensor(name)

    return apply


STEP = Step("keep", Phase.POST, KeepParameters, _compile)
