"""PyTorch on a device: the same numbers as numpy's on the CPU. All but the device's name runs without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from botshard.bots.architectures import architecture_from_document
from botshard.bots.backbones import BackboneFiles, Backbones, publish_backbone
from botshard.bots.bot_file import read_bot_folder
from botshard.bots.encoder_folder import read_encoder_folder
from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Array
from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.ids import BotId, Framework, GroupName, TenantId
from botshard.store.artifact_cache import ArtifactCache
from botshard.store.base import ObjectStore
from botshard.store.urls import open_store
from kserve_runtimes.core.model import HeadFramework, Model
from kserve_runtimes.declared.models import DeclaredModels
from kserve_runtimes.gpu import wants_gpu
from kserve_runtimes.torch.device import Device
from kserve_runtimes.torch.device_models import DeviceModels
from kserve_runtimes.torch.encoder import Encoder, Head
from kserve_runtimes.torch.framework import TorchFramework
from tests.encoders import head_folder, write_encoder
from tests.kserve_runtimes.bot_folders import export_folder, linear_weights
from tests.kserve_runtimes.heads import network

NEAR = 1e-5
HAS_CUDA = torch.cuda.is_available()
CASES: dict[str, dict[str, object]] = {
    "linear": {"name": "linear", "inputs": 4, "outputs": 3},
    "no bias": {"name": "linear", "inputs": 4, "outputs": 3, "bias": False},
    "relu": {"name": "mlp", "layers": [4, 5, 3], "activation": "relu"},
    "tanh": {"name": "mlp", "layers": [4, 5, 5, 3], "activation": "tanh"},
    "gelu": {"name": "mlp", "layers": [4, 5, 3], "activation": "gelu"},
    "bag": {"name": "embedding-bag", "vocabulary": 6, "dim": 4, "layers": [5, 3]},
}

devices = pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not HAS_CUDA, reason="no GPU here"))]
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    """A folder."""
    opened = open_store(f"file://{tmp_path / 'store'}", {})
    yield opened
    opened.close()


def _spec(case: str) -> BotSpec:
    model = {"format": "safetensors", "file": "model.safetensors", "architecture": CASES[case]}
    return BotSpec(BotId("a"), TenantId("t"), GroupName("g"), Framework("torch"), (), (), model)


def _folder(root: Path, case: str, seed: int) -> Path:
    folder = root / f"{case}-{seed}"
    folder.mkdir()
    rng = np.random.default_rng(seed)
    tensors = architecture_from_document(CASES[case]).tensors
    weights = {tensor.name: rng.normal(0, 1, tensor.shape).astype(np.float32) for tensor in tensors}
    save_file(weights, folder / "model.safetensors")
    return folder


def _inputs(case: str, rows: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    if case == "bag":
        return {"x": rng.integers(0, 6, (rows, 4))}
    return {"x": rng.normal(0, 1, (rows, 4)).astype(np.float32)}


def _output(result: object) -> Array:
    assert isinstance(result, dict), result
    array: Array = result["output"]
    return array


@devices
@pytest.mark.parametrize("case", CASES)
def test_networks_on_a_device_answer_as_numpy_does(tmp_path: Path, case: str, device: str) -> None:
    """Alone and in a batch of several bots with one and with many rows each, within 1e-5."""
    ours, theirs = DeviceModels(Device(device)), DeclaredModels()
    inputs = (TensorSpec("x", "INT64" if case == "bag" else "FP32", (-1, 4)),)
    folders = [_folder(tmp_path, case, seed) for seed in range(4)]
    models = [ours.load(_spec(case), folder, inputs) for folder in folders]
    known = [theirs.load(_spec(case), folder, inputs) for folder in folders]
    asked = [(0, 1), (1, 1), (2, 3), (3, 1), (2, 1), (1, 2), (0, 1)]
    batch = [_inputs(case, rows, seed) for seed, (_, rows) in enumerate(asked)]
    together = models[0].together
    assert together is not None
    assert {id(model.together) for model in models} == {id(together)}
    results = together.predict([models[index] for index, _ in asked], batch)
    for (index, _), given, result in zip(asked, batch, results, strict=True):
        wanted = _output(known[index].predict(given))
        assert np.abs(_output(result) - wanted).max() <= NEAR
        assert np.abs(_output(models[index].predict(given)) - wanted).max() <= NEAR
    assert models[0].footprint_bytes == known[0].footprint_bytes


@devices
def test_wrong_tokens_fail_alone(tmp_path: Path, device: str) -> None:
    """A request with numbers that are no tokens is refused, and those beside it are answered."""
    inputs = (TensorSpec("x", "INT64", (-1, -1)),)
    model = DeviceModels(Device(device)).load(_spec("bag"), _folder(tmp_path, "bag", 1), inputs)
    assert model.together is not None
    wrong, right = {"x": np.array([[7]])}, {"x": np.array([[1]])}
    refused, answered = model.together.predict([model, model], [wrong, right])
    assert isinstance(refused, InvalidInputError)
    assert _output(answered).shape == (1, 3)


@devices
def test_an_encoder_and_its_heads_run_on_a_device(tmp_path: Path, device: str) -> None:
    """Weights, encoder and stacked heads by PyTorch there: the numbers of numpy heads on the CPU's encoder."""
    folder = write_encoder(tmp_path / "encoder")
    files = BackboneFiles("tiny", "0" * 64, read_encoder_folder(folder).spec, folder)
    there, here = Encoder(files, Device(device), length_step=8), Encoder(files, Device("cpu"))
    bots = [head_folder(tmp_path, f"bot-{seed}", seed=seed) for seed in range(5)]
    texts = np.array([[b"hello"], [b"when do you open? 123"], [b""]], dtype=object)
    ours: list[Model] = [Head(there, network(bot, "torch" if device == "cpu" else device)) for bot in bots]
    known = [Head(here, network(bot, "cpu")) for bot in bots]
    results = there.predict(ours, [{"text": texts[: 1 + index % 3]} for index in range(5)])
    for index, (result, model) in enumerate(zip(results, known, strict=True)):
        wanted = _output(model.predict({"text": texts[: 1 + index % 3]}))
        assert np.abs(_output(result) - wanted).max() <= NEAR


@devices
def test_a_framework_loads_everything_onto_its_device(tmp_path: Path, store: ObjectStore, device: str) -> None:
    """A declared network, an exported program and a head; the encoder is loaded once for two heads."""
    framework = TorchFramework(threads=1, device=device)
    assert isinstance(framework, HeadFramework)
    exported = export_folder(tmp_path, "exported")
    program = framework.load(read_bot_folder(exported).spec, exported, (TensorSpec("x", "FP32", (-1, 4)),))
    rows = np.ones((2, 4), np.float32)
    assert np.abs(_output(program.predict({"x": rows})) - rows @ linear_weights(1).T).max() <= NEAR
    publish_backbone(store, "tiny", write_encoder(tmp_path / "encoder"), now_s=1)
    backbones = Backbones(store, ArtifactCache(tmp_path / "cache"))
    text = (TensorSpec("text", "BYTES", (-1, 1)),)
    heads = []
    for seed in (1, 2):
        folder = head_folder(tmp_path, "head", seed=seed)
        spec = read_bot_folder(folder).spec
        heads.append(framework.load_head(spec, folder, text, backbones=backbones))
        if seed == 1:
            shared_bytes = framework.shared_bytes
    assert heads[0].together is heads[1].together
    assert framework.shared_bytes == shared_bytes > 0
    assert (framework.device_bytes is None) == (framework.device_free_bytes is None) == (device == "cpu")
    with pytest.raises(InvalidDocumentError, match="one text, which is what backbone tiny takes"):
        framework.load_head(spec, folder, (TensorSpec("x", "FP32", (-1, 12)),), backbones=backbones)


class _LikeAGpu(Device):
    """Takes every way that a GPU takes, and leads to the CPU."""

    @property
    def is_cuda(self) -> bool:
        """As if."""
        return True

    def put(self, array: Array, /) -> torch.Tensor:
        """Without pinned memory, which only a GPU's driver has."""
        return torch.from_numpy(array)


def test_a_program_is_moved_to_its_device(tmp_path: Path) -> None:
    """The pass that moves exported programs leaves what they compute."""
    folder = export_folder(tmp_path, "exported")
    framework = TorchFramework(threads=1, device="cpu")
    framework._device = _LikeAGpu("cpu")
    program = framework.load(read_bot_folder(folder).spec, folder, (TensorSpec("x", "FP32", (-1, 4)),))
    rows = np.ones((2, 4), np.float32)
    assert np.abs(_output(program.predict({"x": rows})) - rows @ linear_weights(1).T).max() <= NEAR


@pytest.mark.parametrize(("device", "wanted"), [("cpu", False), ("cuda", True)], ids=["cpu", "cuda"])
def test_a_replica_knows_where_models_belong_without_pytorch(device: str, wanted: bool) -> None:  # noqa: FBT001
    """By the setting; `auto` looks for a driver."""
    assert wants_gpu(device) is wanted
    assert wants_gpu("auto") is Path("/dev/nvidiactl").exists()


@pytest.mark.skipif(HAS_CUDA, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    """By name; `auto` is the CPU then."""
    assert not Device("auto").is_cuda
    with pytest.raises(InvalidDocumentError, match="RUNTIME_DEVICE: must be auto or cpu"):
        TorchFramework(threads=1, device="cuda")
