"""`.pt2` programs: what `torch.export.save` writes is accepted, what would run code is refused unread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from botshard.bots.limits import Limits
from botshard.bots.model_files import check_model_files
from botshard.bots.size_expressions import is_guard, is_size_expression
from botshard.bots.torch_export import check_torch_export
from tests.bots.torch_models import MARKER, rewrite

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of `tests.bots.torch_models`."""
    folder = tmp_path_factory.mktemp("torch-models")
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "tests.bots.torch_models", folder], cwd=_ROOT, env=environ, check=True)
    return folder


@pytest.mark.parametrize("name", ["plain.pt2", "branching.pt2"])
def test_a_program_of_torch_export_save_is_accepted(models: Path, name: str) -> None:
    """Weights, buffers, constants, free sizes, guards and branches need nothing that is refused."""
    assert check_torch_export(models / name, Limits()) == []


@pytest.mark.parametrize(
    ("name", "found", "is_real"),
    [
        ("attack-samples.pt2", "a pickle that calls __builtin__.exec", True),
        ("attack-expression.pt2", "the expression", True),
        ("attack-guard.pt2", "the expression", True),
        ("attack-operator.pt2", "the operator 'torch.os.system'", False),
    ],
    ids=["pickle in the sample inputs", "code in a size", "code in a guard", "an operator outside of ATen"],
)
def test_a_program_that_runs_code_is_refused_without_running_it(
    models: Path,
    name: str,
    found: str,
    is_real: bool,  # noqa: FBT001
) -> None:
    """`torch.export.load` does execute the first three; the check names them and leaves no trace of having done so."""
    assert json.loads((models / "attacks.json").read_text())[name] is is_real
    (problem,) = check_torch_export(models / name, Limits())
    assert problem.field == "model.file"
    assert found in problem.found
    assert not (models / MARKER).exists()


@pytest.mark.parametrize("name", ["model.pkl", "state.pt", "old.pt", "script.pt", "hostile.pt"])
@pytest.mark.parametrize("model_format", ["safetensors", "torch-export"])
def test_a_pickle_is_refused_with_the_reason_and_the_way_out(models: Path, name: str, model_format: str) -> None:
    """Whatever it is called and whatever the format says it is: known by its first bytes, and never loaded."""
    for file in (name, _copied(models, name, "renamed.safetensors")):
        model = {"format": model_format, "file": file}
        files, (problem,) = check_model_files(models, model, framework="torch", limits=Limits())
        assert files == ()
        assert "loading it can run any code" in problem.found
        assert "torch.export.save" in problem.expected
        assert "safetensors.torch.save_file" in problem.expected
    assert not (models / MARKER).exists()


def _copied(folder: Path, name: str, new_name: str) -> str:
    (folder / new_name).write_bytes((folder / name).read_bytes())
    return new_name


def _json(change: Callable[[dict[str, object]], object]) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return edit


def _graph(document: dict[str, object]) -> dict[str, object]:
    module = document["graph_module"]
    assert isinstance(module, dict)
    graph = module["graph"]
    assert isinstance(graph, dict)
    return graph


_HOSTILE_EDITS: dict[str, tuple[str, Callable[[bytes], bytes | None], str]] = {
    "no sample inputs": ("sample_inputs/model.pt", lambda _: None, "without data/sample_inputs"),
    "sample inputs that are no zip": ("sample_inputs/model.pt", lambda _: b"\x80\x02N.", "no zip archive"),
    "weights that are pickled": (
        "model_weights_config.json",
        lambda data: data.replace(b'"use_pickle": false', b'"use_pickle": true', 1),
        "the pickled object",
    ),
    "an object of a custom class": (
        "model_constants_config.json",
        lambda data: data.replace(b'"tensor_0"', b'"opaque_obj_0"', 1),
        "'opaque_obj_0'",
    ),
    "a file read by an operator": (
        "model.json",
        lambda data: data.replace(b"torch.ops.aten.linear.default", b"torch.ops.aten.from_file.default", 1),
        "from_file",
    ),
    "an operator of another library": (
        "model.json",
        lambda data: data.replace(b"torch.ops.aten.linear.default", b"torch.ops.evil.linear.default", 1),
        "torch.ops.evil",
    ),
    "a name that is code": (
        "model.json",
        _json(lambda document: _graph(document)["inputs"].append({"as_tensor": {"name": "x=exec('1')"}})),  # type: ignore[attr-defined]
        "the name",
    ),
    "an enum in the shape of the inputs": (
        "model.json",
        lambda data: data.replace(
            b'\\"context\\": \\"[]\\"', b'\\"context\\": \\"[{\\\\\\"__enum__\\\\\\": true}]\\"', 1
        ),
        "the shape",
    ),
    "a default dict in the shape of the inputs": (
        "model.json",
        lambda data: data.replace(b"builtins.dict", b"collections.defaultdict", 1),
        "the shape",
    ),
    "a constraint whose key is code": (
        "model.json",
        _json(lambda document: document.update(range_constraints={"exit()": {"min_val": 0, "max_val": None}})),
        "the key",
    ),
    "metadata of an unknown kind": (
        "model.json",
        _json(lambda document: _graph(document)["nodes"][0]["metadata"].update(source_fn_stack="x,y")),  # type: ignore[index]
        "the metadata",
    ),
    "another format": ("archive_format", lambda _: b"jit", "the format pt2"),
    "a program that is no JSON": ("model.json", lambda _: b"{", "'models/model.json' of"),
}


@pytest.mark.parametrize(("name", "change", "found"), _HOSTILE_EDITS.values(), ids=_HOSTILE_EDITS.keys())
def test_anything_that_torch_export_save_does_not_write_is_refused(
    models: Path, tmp_path: Path, name: str, change: Callable[[bytes], bytes | None], found: str
) -> None:
    """Each edit of a good program is found by its own reason."""
    rewrite(models / "plain.pt2", tmp_path / "edited.pt2", name, change)
    (problem,) = check_torch_export(tmp_path / "edited.pt2", Limits())
    assert found in problem.found, problem


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("plain/../../escape", "with the name"),
        ("/absolute", "with the name"),
        ("plain/data/aotinductor/model/model.so", "aotinductor"),
        ("plain/data/weights/model.pt", "data/weights/model.pt"),
        ("plain/MODELS/model.json", "twice"),
        ("plain/models/second.json", "models/second.json"),
        ("other/models/model.json", "2 folders at its top"),
    ],
)
def test_a_program_with_other_files_in_it_is_refused(models: Path, tmp_path: Path, name: str, found: str) -> None:
    """No path out of the archive, no compiled code, nothing that two readers could take for different files."""
    path = tmp_path / "more.pt2"
    path.write_bytes((models / "plain.pt2").read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    (problem,) = check_torch_export(path, Limits())
    assert found in problem.found, problem


def test_an_archive_is_bounded_as_unpacked_and_has_no_second_reading(models: Path, tmp_path: Path) -> None:
    """A bomb, bytes behind the end, bytes before the start and damage are refused."""
    good = (models / "plain.pt2").read_bytes()
    with zipfile.ZipFile(tmp_path / "bomb.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("plain/models/model.json", b"0" * 2_000_000)
    (problem,) = check_torch_export(tmp_path / "bomb.pt2", Limits(artifact_bytes=1_000_000))
    assert "1.9 MiB" in problem.found
    for name, data in {"behind": good + b"PK", "before": b"#!" + good, "cut": good[:-200], "empty": b""}.items():
        (tmp_path / name).write_bytes(data)
        assert len(check_torch_export(tmp_path / name, Limits())) == 1, name
    middle = len(good) // 2
    (tmp_path / "flipped").write_bytes(good[:middle] + bytes(byte ^ 255 for byte in good[middle:]))
    assert len(check_torch_export(tmp_path / "flipped", Limits())) == 1


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ("Symbol('s17', positive=True, integer=True)", True),
        ("Add(Mul(Integer(5), Symbol('s1')), Integer(-1))", True),
        ("s0 + 2*s1", True),
        ("Pow(Symbol('s1'), Integer(2))", True),
        ("FloorDiv(Symbol('s1'), Integer(2))", True),
        ("Pow(Integer(9), Integer(999999999))", False),
        ("9**9**9", False),
        ("__import__('os').system('id')", False),
        ("open('x','w')", False),
        ("Symbol('s1').__class__", False),
        ("Symbol('os')", False),
        ("Integer(5) # )", False),
        ("lambda: 1", False),
        ("[1 for s1 in s2]", False),
        ("f'{s1}'", False),
        ("(s1 := 2)", False),
        ("(" * 5000 + ")" * 5000, False),
        ("s1\n+ s2", False),
        ("", False),
    ],
)
def test_size_expressions_are_symbols_numbers_and_known_functions(text: str, sound: bool) -> None:  # noqa: FBT001
    """Anything that evaluating could turn into a call, an attribute or endless work is no size."""
    assert is_size_expression(text) is sound


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ("L['x'].size()[0] == 3", True),
        ("((3*L['y'].size()[0] + L['x']['k'].stride()[1]) % L['y'].size()[0]) == 0", True),
        ("L['x'].size()[0] == 3 and not L['x'].size()[1] <= 2", True),
        ("L['x'].__class__ == 3", False),
        ("L['x'].size(exec('1'))[0] == 3", False),
        ("exec('1') == 3", False),
        ('L["x\\""].size()[0] == 3', False),
        ("torch.os.system('id') == 0", False),
        ("L['x'].size()[0] == 3 # and", False),
    ],
)
def test_guards_compare_sizes(text: str, sound: bool) -> None:  # noqa: FBT001
    """Anything else in a guard would be executed."""
    assert is_guard(text) is sound
