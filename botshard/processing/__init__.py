"""What a bot does to a request before its model and to the model's outputs after it, declared step by step.

- `registry`: all steps by name; a new one is one file in `steps/` (its form is in `step`)
- `pipeline`: `check_steps` finds everything that is wrong with a declaration, `compile_pipeline` makes it run
- `scope`: what a step sees of the declaration around it; `frame`: what it works on when a request is there
- `patterns`: regular expressions of linear time; `terms`: lists of words and labels, inline or in a file
"""

from botshard.processing.errors import ModelOutputError
from botshard.processing.pipeline import Pipeline, check_steps, compile_pipeline

__all__ = ["ModelOutputError", "Pipeline", "check_steps", "compile_pipeline"]
