"""A backbone in memory, once a process: the encoder of a batch whose rows belong to many bots, each with its own head.

All texts of a batch become tokens, equal ones once; they are sorted by length, encoded some tokens at a time, and each
request's rows meet the head of its bot. Heads of equal shape run in one batch again.
"""

from __future__ import annotations

from array import array as numbers_array
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import torch

from botshard.bots.backbones import BackboneFiles
from botshard.bots.encoder_spec import VOCABULARY_FILE, WEIGHTS_FILE
from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Array
from botshard.processing.frame import check_lengths
from kserve_runtimes.core.model import Model, Together
from kserve_runtimes.torch.bert import Bert
from kserve_runtimes.torch.device import Device
from kserve_runtimes.torch.encodings import Encodings, digest_of
from kserve_runtimes.torch.weights import map_weights
from kserve_runtimes.torch.word_pieces import WordPieces

__all__ = ["Encoder", "Head"]

MOST_TOKENS_A_PASS: Final = 1024
"""More at once is not faster, and what stands between two layers would no longer fit into the processor's caches."""
_CUDA_LENGTH_STEP: Final = 16
_ENCODING: Final = "encoding"


class Encoder:
    """Texts to vectors, and the `Together` of all bots that are heads on it. Used by several threads."""

    def __init__(
        self,
        files: BackboneFiles,
        device: Device,
        /,
        *,
        cache_bytes: int = 0,
        most_tokens: int = MOST_TOKENS_A_PASS,
        length_step: int | None = None,
    ) -> None:
        """Map the weights, or move them to the device.

        Args:
            files: verified.
            device: where it runs.
            cache_bytes: bound on remembered encodings; 0: none are.
            most_tokens: of one pass through the layers, unless one text has more.
            length_step: see `Bert`; None: what is best for the device.
        """
        spec = files.spec
        self.name = files.name
        self.width = spec.width
        self._pieces = WordPieces(files.folder / VOCABULARY_FILE, spec)
        mapped = map_weights(files.folder / WEIGHTS_FILE, only=spec.tensors)
        weights = {name: device.place(tensor) for name, tensor in mapped.items()}
        step = length_step or (_CUDA_LENGTH_STEP if device.is_cuda else 1)
        self._bert = Bert(spec, weights, padding=self._pieces.padding, length_step=step)
        self._device = device
        self._most_tokens = most_tokens
        self._encodings = Encodings(cache_bytes) if cache_bytes else None
        self.footprint_bytes = sum(tensor.nbytes for tensor in weights.values())
        """Of weights; on the CPU, where these are mapped and replicas share their pages, of all else as well."""
        if not device.is_cuda:  # there its own memory is what is bounded
            self.footprint_bytes += self._pieces.footprint_bytes + cache_bytes

    def encode(self, texts: Sequence[str], /) -> Array:
        """`(texts, width)`, float32, each row of length 1."""
        places: dict[bytes, int] = {}
        rows = [places.setdefault(numbers_array("i", self._pieces(text)).tobytes(), len(places)) for text in texts]
        encodings = self._encoded(list(places))
        return encodings if len(places) == len(texts) else encodings[rows]

    def predict(
        self, models: Sequence[Model], inputs: Sequence[Mapping[str, Array]], /
    ) -> Sequence[Mapping[str, Array] | Exception]:
        """See `kserve_runtimes.core.model.Together`."""
        results: list[Mapping[str, Array] | Exception] = [{}] * len(models)
        texts: list[str] = []
        asked: list[tuple[int, Model, int, int]] = []
        for index, (model, given) in enumerate(zip(models, inputs, strict=True)):
            assert isinstance(model, Head)  # noqa: S101 - no other has this as `together`
            try:
                found = _texts(given)
            except InvalidInputError as error:
                results[index] = error
                continue
            asked.append((index, model.network, len(texts), len(texts) + len(found)))
            texts += found
        encodings = self.encode(texts)
        for together, members in _by_together(asked):
            heads = [network for _, network, _, _ in members]
            rows = [{_ENCODING: encodings[begin:end]} for _, _, begin, end in members]
            answers = together.predict(heads, rows) if together is not None else _each(heads, rows)
            for (index, _, _, _), answer in zip(members, answers, strict=True):
                results[index] = answer
        return results

    def _encoded(self, rows: Sequence[bytes]) -> Array:
        """Encodings of different token rows, those that are remembered among them."""
        found = np.empty((len(rows), self.width), np.float32)
        if self._encodings is None:
            self._compute(rows, range(len(rows)), found)
            return found
        digests = [digest_of(row) for row in rows]
        missing = []
        for index, digest in enumerate(digests):
            known = self._encodings.get(digest)
            if known is None:
                missing.append(index)
            else:
                found[index] = known
        self._compute(rows, missing, found)
        for index in missing:
            self._encodings.put(digests[index], found[index])
        return found

    def _compute(self, rows: Sequence[bytes], wanted: Sequence[int], found: Array) -> None:
        order = sorted(wanted, key=lambda index: len(rows[index]))
        with torch.inference_mode():
            # All passes are on their way before the first is waited for.
            passes = [(part, self._bert([_tokens(rows[index]) for index in part])) for part in self._parts(rows, order)]
            for part, encodings in passes:
                found[part] = self._device.get(encodings)

    def _parts(self, rows: Sequence[bytes], order: Sequence[int]) -> Iterator[list[int]]:
        """Rows by length in parts of about so many tokens, filling included."""
        part: list[int] = []
        tokens = 0
        for index in order:
            length = self._bert.padded(len(_tokens(rows[index])))
            if part and tokens + length > self._most_tokens:
                yield part
                part, tokens = [], 0
            part.append(index)
            tokens += length
        if part:
            yield part


class Head:
    """A bot on a backbone: a network of its own over the encoding of each text."""

    __slots__ = ("footprint_bytes", "network", "together")

    def __init__(self, encoder: Encoder, network: Model) -> None:
        self.together = encoder
        self.network = network
        self.footprint_bytes = network.footprint_bytes
        """Of the head alone: the encoder is all bots'."""

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """`{"output": (rows, columns)}`."""
        (answer,) = self.together.predict([self], [inputs])
        if isinstance(answer, Exception):
            raise answer
        return answer


def _texts(given: Mapping[str, Array]) -> list[str]:
    """Raises: InvalidInputError for a text that is not UTF-8, or too long."""
    ((name, values),) = given.items()
    texts = []
    for row, value in enumerate(values.ravel().tolist()):
        try:
            texts.append(value.decode())
        except UnicodeDecodeError as error:
            raise InvalidInputError(name, f"text must be UTF-8; byte {error.start} of row {row} is not") from error
    check_lengths(name, texts)
    return texts


def _tokens(row: bytes) -> memoryview:
    return memoryview(row).cast("i")


def _by_together(
    asked: Sequence[tuple[int, Model, int, int]],
) -> Iterator[tuple[Together | None, list[tuple[int, Model, int, int]]]]:
    groups: dict[Together | None, list[tuple[int, Model, int, int]]] = {}
    for one in asked:
        groups.setdefault(one[1].together, []).append(one)
    yield from groups.items()


def _each(heads: Sequence[Model], rows: Sequence[Mapping[str, Array]]) -> list[Mapping[str, Array] | Exception]:
    return [head.predict(row) for head, row in zip(heads, rows, strict=True)]
