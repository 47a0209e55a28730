"""What the documentation says and the code knows is compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from botshard.bots.strict_yaml import read_yaml
from botshard.pool_groups import parse_pool_groups
from botshard.sharding.residency import TRANSITIONS
from kserve_runtimes.settings import VARIABLES as RUNTIME_VARIABLES
from router.settings import VARIABLES as ROUTER_VARIABLES
from shard_controller.settings import VARIABLES as SHARDS_VARIABLES

ROOT = Path(__file__).resolve().parent.parent


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_residency_diagram_is_the_table() -> None:
    """Every transition of the table stands in the diagram, and no other."""
    drawn = re.findall(r"(\w+) --> (\w+): (.+)", _blocks("docs/architecture.md", "mermaid")[0])
    assert sorted(drawn) == sorted((str(old), str(new), event.value) for (old, event), new in TRANSITIONS.items())


def test_the_bot_of_the_readme_is_the_one_in_examples() -> None:
    """The README's bot.yaml says what examples/hello-bot/bot.yaml says."""
    shown = _blocks("README.md", "yaml")[0]
    assert read_yaml(shown.encode(), "README") == read_yaml(
        (ROOT / "examples/hello-bot/bot.yaml").read_bytes(), "examples"
    )


def test_the_group_in_the_documentation_is_accepted() -> None:
    """The example is a pool group, and shows every section that there is."""
    example = _blocks("docs/pool-groups.md", "yaml")[0]
    assert parse_pool_groups(example.encode(), "docs/pool-groups.md")[0].name == "realtime"


def test_every_field_of_a_group_is_documented() -> None:
    """With its default, in a table."""
    page = (ROOT / "docs/pool-groups.md").read_text()
    fields = re.findall(r"^\| `spec\.([\w.]+)`", page, re.MULTILINE)
    source = (ROOT / "botshard/pool_groups.py").read_text()
    known = set(re.findall(r'"(\w+)"', re.findall(r"spec\.only\((.*?)\)", source, re.DOTALL)[0]))
    assert {field.split(".")[0] for field in fields} == known


@pytest.mark.parametrize(
    ("page", "variables"),
    [
        ("docs/router.md", ROUTER_VARIABLES),
        ("docs/runtime.md", RUNTIME_VARIABLES),
        ("docs/local-stack.md", SHARDS_VARIABLES),
    ],
    ids=["router", "runtime", "controller"],
)
def test_every_variable_is_documented(page: str, variables: object) -> None:
    """A setting that nobody can read about is no setting."""
    assert hasattr(variables, "__iter__")
    text = (ROOT / page).read_text()
    assert [name for name in variables if name not in text] == []
