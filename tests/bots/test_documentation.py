"""What `docs/bot-yaml.md` shows is true."""

from __future__ import annotations

import re
from pathlib import Path

from botshard.bots.architectures import ARCHITECTURES
from botshard.bots.bot_document import BotDocument
from botshard.bots.bot_file import read_bot_folder
from botshard.bots.formats import FORMATS
from botshard.bots.saved_model_operators import OPERATORS
from botshard.bots.strict_yaml import read_yaml
from tests.bots.folders import write_weights

_PAGE = (Path(__file__).parents[2] / "docs" / "bot-yaml.md").read_text()


def test_the_example_of_the_page_is_a_bot(tmp_path: Path) -> None:
    """As it stands, with a file of the declared weights."""
    example = re.search(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)
    assert example is not None
    (tmp_path / "bot.yaml").write_text(example[1])
    document = read_yaml(example[1].encode(), "page")
    assert isinstance(document, dict)
    write_weights(tmp_path / "model.safetensors", document["model"]["architecture"])
    assert read_bot_folder(tmp_path).spec.id == "acme-banking"


def test_the_page_names_every_field_format_and_architecture() -> None:
    """And the size of the list of operators, roughly."""
    names = [field.alias or name for name, field in BotDocument.model_fields.items()]
    names += [*FORMATS, *(architecture.kind for architecture in ARCHITECTURES)]
    assert [name for name in names if f"`{name}" not in _PAGE] == []
    assert round(len(OPERATORS), -1) == 360
