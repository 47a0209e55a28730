"""Requests to one Keras bot in one batch: only where every part of it is known not to mix rows."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.kserve_runtimes.fleet import ROOT

_PROGRAM = """
import keras
import numpy as np
from kserve_runtimes.core.one_model import OneModel
from kserve_runtimes.tensorflow.framework import _are_rows_independent as independent

def functional(make):
    given = keras.Input((4,))
    return keras.Model(given, make(given))

dense = keras.layers.Dense(3, activation="softmax")
plain = functional(lambda x: dense(keras.layers.BatchNormalization()(x)))
sequence = keras.Sequential([keras.Input((5, 4)), keras.layers.LSTM(3), keras.layers.Dense(2)])
assert independent(plain) and independent(sequence)
assert not independent(functional(lambda x: x - keras.ops.mean(x, axis=0, keepdims=True)))
assert not independent(functional(lambda x: keras.layers.Softmax(axis=0)(x)))
assert not independent(functional(lambda x: keras.layers.Concatenate(axis=0)([x, x])))
assert not independent(functional(plain))
assert not independent(keras.Sequential([keras.Input((4,), batch_size=2), keras.layers.Dense(2)]))

class Plain:
    together = None
    footprint_bytes = 0
    def predict(self, inputs):
        return {"output": plain(inputs["x"], training=False).numpy()}

rng = np.random.default_rng(0)
rows = [{"x": rng.normal(size=(count, 4)).astype("f4")} for count in (1, 5, 2, 1)]
together = OneModel().predict([Plain()] * 4, rows)
for answer, given in zip(together, rows):
    np.testing.assert_allclose(answer["output"], Plain().predict(given)["output"], atol=1e-5)
"""


def test_plain_layers_never_mix_rows_and_others_are_not_trusted() -> None:
    """Operations over a batch, layers along its axis, models within models, a fixed batch: one by one."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
