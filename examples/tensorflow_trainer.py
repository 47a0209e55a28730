"""TensorFlow's side of training: one traced step for many small networks, written as Keras models or SavedModels."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from examples.networks import Batches, Floats, Integers, Network, Stack

__all__ = ["TensorflowTrainer"]

_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8
"""Adam's own defaults."""


class TensorflowTrainer:
    """A `Trainer`. Keras' `fit` would take a second a bot, most of it to build its functions."""

    def __init__(self, features: Floats) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(1)  # the other core is the other framework's
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self._features = tf.constant(features)
        self._practices: dict[tuple[int, ...], _Practice] = {}

    def fit(self, batches: Batches, start: Stack) -> Stack:
        """Adam on the weighted cross entropy of all bots at once."""
        shape = (*start.second.shape, batches.rows.shape[2])
        practice = self._practices.get(shape) or _Practice(self._features, start)
        self._practices[shape] = practice
        return practice.run(batches, start)

    def logits(self, network: Network, rows: Integers) -> Floats:
        """Of the network as it is in memory."""
        logits: Floats = _logits(network.arrays, tf.gather(self._features, rows)).numpy()
        return logits

    def write(self, network: Network, model_format: str, folder: Path) -> None:
        """Writes `model.keras` or the folder `model`."""
        model = _keras_model(network.sizes)
        model.set_weights(network.arrays)
        if model_format == "keras":
            model.save(folder / "model.keras")
        else:
            model.export(folder / "model", verbose=False)


class _Practice:
    """Variables of one shape and the step that changes them: tracing the step takes as long as running it 40 times."""

    def __init__(self, features: Any, shapes: Stack) -> None:
        self._features = features
        self._stack, self._means, self._squares = (
            [tf.Variable(tf.zeros(array.shape)) for array in shapes.arrays] for _ in range(3)
        )
        self._step = tf.function(self._take_step, autograph=False)

    def run(self, batches: Batches, start: Stack) -> Stack:
        for variable, array in zip(self._stack, start.arrays, strict=True):
            variable.assign(array)
        for variable in (*self._means, *self._squares):
            variable.assign(tf.zeros_like(variable))
        columns = [tf.constant(part) for part in (batches.rows, batches.classes, batches.weights)]
        padding = tf.constant(batches.padding)
        for number, rate in enumerate(batches.learning_rates):
            powers = tf.constant([_DECAY ** (number + 1), _SQUARE_DECAY ** (number + 1)])
            self._step(*(column[:, number] for column in columns), padding, tf.constant(rate), powers)
        return Stack(*(variable.numpy() for variable in self._stack))

    def _take_step(self, rows: Any, classes: Any, weights: Any, padding: Any, rate: Any, powers: Any) -> None:
        phrases = tf.gather(self._features, rows)
        with tf.GradientTape() as tape:
            logits = _logits(self._stack, phrases) + padding
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
            loss = tf.reduce_sum(losses * weights) / rows.shape[1]
        gradients = tape.gradient(loss, self._stack)
        for variable, mean, square, gradient in zip(self._stack, self._means, self._squares, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=_DECAY,
                beta2=_SQUARE_DECAY,
                epsilon=_EPSILON,
                grad=gradient,
            )


@functools.cache
def _keras_model(sizes: tuple[int, int, int]) -> Any:
    """One for all bots of these sizes: building a model takes longer than filling and saving it."""
    features, hidden, classes = sizes
    return keras.Sequential(
        [
            keras.layers.Input((features,), name="features"),
            keras.layers.Dense(hidden, activation="relu", name="hidden"),
            keras.layers.Dense(classes, name="logits"),
        ]
    )


def _logits(stack: Any, phrases: Any) -> Any:
    first, first_bias, second, second_bias = stack
    hidden = tf.nn.relu(tf.matmul(phrases, first) + first_bias)
    return tf.matmul(hidden, second) + second_bias
