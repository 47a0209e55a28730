"""How `model.onnx` was made: scikit-learn trains, skl2onnx writes. `python examples/iris-bot/train.py` does it again.

It needs `scikit-learn` and `skl2onnx`; publishing and serving need neither.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER: Final = Path(__file__).parent


def main() -> None:
    """Scaling and 20 rounds of boosted trees, as one graph."""
    measures, species = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=20, max_depth=2, random_state=0))
    model.fit(measures, species)
    # The example row says what the graph takes: float32, four columns, any number of rows. Without `zipmap: False` it
    # would give probabilities as a list of dictionaries, which is no tensor.
    graph = to_onnx(model, measures[:1].astype(np.float32), options={"zipmap": False})
    (FOLDER / "model.onnx").write_bytes(graph.SerializeToString())


if __name__ == "__main__":
    main()
