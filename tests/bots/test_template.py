"""The bot to start from works as it is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from botshard.bots.bot_file import read_bot_folder
from botshard.bots.publish import publish
from botshard.bots.template import TemplateFramework, TemplateKind, write_template
from botshard.oip.tensors import tensor_from_json
from botshard.processing import compile_pipeline
from botshard.sharding.errors import InvalidDocumentError
from botshard.store.urls import open_store


@pytest.mark.parametrize("kind", TemplateKind)
@pytest.mark.parametrize("name", ["demo-bot", "2024", "true", "0x10"])
def test_a_new_folder_can_be_published_at_once(tmp_path: Path, kind: TemplateKind, name: str) -> None:
    """The folder's name is the bot's id, also where YAML would take it for a number or a truth."""
    write_template(tmp_path / name, kind=kind, tenant="42")
    (result,) = publish(open_store(f"file://{tmp_path / 'store'}", {}), [tmp_path / name], now_s=1)
    assert (result.status, result.bot_id, result.problems) == ("created", name, ())


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Hello there!", "greeting"),
        ("good MORNING", "greeting"),
        ("Bye, see you later", "farewell"),
        ("when are you open?", "opening-hours"),
        ("qwertz", "unknown"),
    ],
)
def test_the_text_bot_answers_sensibly(tmp_path: Path, text: str, label: str) -> None:
    """Its steps and its weights belong together."""
    write_template(tmp_path / "demo-bot")
    spec = read_bot_folder(tmp_path / "demo-bot").spec
    weights = load_file(tmp_path / "demo-bot" / "model.safetensors")["weight"]
    pipeline = compile_pipeline(spec, tmp_path / "demo-bot")
    asked = {"text": tensor_from_json("text", "BYTES", (1, 1), [text])}
    (features,) = pipeline.before(asked).values()
    answer = pipeline.after({"output": np.asarray(features) @ weights.T}, asked)
    assert answer["label"].data == [label.encode()]


def test_a_keras_template_lacks_only_its_model(tmp_path: Path) -> None:
    """A script makes it, and everything else is right already."""
    files = write_template(tmp_path / "demo-bot", framework=TemplateFramework.TENSORFLOW)
    assert [path.name for path in files] == ["bot.yaml", "make_model.py", "sample.json"]
    compile((tmp_path / "demo-bot" / "make_model.py").read_text(), "make_model.py", "exec")
    with pytest.raises(InvalidDocumentError) as caught:
        read_bot_folder(tmp_path / "demo-bot")
    assert [problem.field for problem in caught.value.problems] == ["model.file"]


@pytest.mark.parametrize("kind", TemplateKind)
def test_an_onnx_template_can_be_published_at_once(tmp_path: Path, kind: TemplateKind) -> None:
    """Its graph is written without ONNX, and fits what the bot declares."""
    files = write_template(tmp_path / "demo-bot", framework=TemplateFramework.ONNX, kind=kind)
    assert {"bot.yaml", "model.onnx"} <= {path.name for path in files}
    assert Path("model.onnx") in read_bot_folder(tmp_path / "demo-bot").files


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder that holds one of the files is refused and stays as it is."""
    (tmp_path / "demo-bot").mkdir()
    (tmp_path / "demo-bot" / "bot.yaml").write_text("mine")
    with pytest.raises(InvalidDocumentError, match="nothing is overwritten"):
        write_template(tmp_path / "demo-bot")
    assert [path.name for path in (tmp_path / "demo-bot").iterdir()] == ["bot.yaml"]
    assert (tmp_path / "demo-bot" / "bot.yaml").read_text() == "mine"


def test_a_folder_whose_name_is_no_bot_id_is_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(InvalidDocumentError, match="letters, digits"):
        write_template(tmp_path / "a b")
    assert list(tmp_path.iterdir()) == []
