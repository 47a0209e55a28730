"""Models that somebody wrote for KServe, served as they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.kserve_runtimes.behaviour.conftest import expected
from tests.kserve_runtimes.bot_folders import own_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually

POOL = pool_of("realtime", "kserve")
KEY = key_of("realtime", "kserve")
HERE = "tests.kserve_runtimes.own_models"
ALLOWED = ("Linear", "SyncLinear", "DictLinear", "Greeter", "NeverReady", "NoModel", "Missing")
ROW = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)


def _greeter(root: Path) -> Path:
    folder = root / "greeter"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("it reads nothing\n")
    document = {
        "id": "greeter",
        "tenant": "acme",
        "poolGroup": "realtime",
        "framework": "kserve",
        "model": {"format": "kserve", "file": "notes.txt", "class": f"{HERE}:Greeter", "payload": "v1"},
        "inputs": [{"name": "name", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            {"name": "greeting", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "length", "datatype": "INT64", "shape": [-1]},
        ],
    }
    (folder / "bot.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """A zygote for them; it has imported none of the classes."""
    with Zygote(tmp_path_factory.mktemp("zygote") / "kserve.log", framework="kserve") as zygote:
        zygote.wait_ready()
        yield zygote


@pytest.fixture(scope="module")
def served(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Replica, Fleet]]:
    """A bot of each class, and one of a class that the pool does not allow."""
    root = tmp_path_factory.mktemp("own")
    fleet = Fleet(root / "fleet")
    bots = {
        "asynchronous": ("Linear", "v2"),
        "synchronous": ("SyncLinear", "v2"),
        "dictionaries": ("DictLinear", "v1"),
        "never-ready": ("NeverReady", "v2"),
        "no-model": ("NoModel", "v2"),
        "missing": ("Missing", "v2"),
        "not-allowed": ("Secret", "v2"),
    }
    fleet.publish(
        _greeter(root / "bots"),
        *(
            own_folder(root / "bots", bot, own_class=f"{HERE}:{own_class}", payload=payload)
            for bot, (own_class, payload) in bots.items()
        ),
    )
    fleet.publish_table({KEY: [POOL]})
    classes = ", ".join(f"{HERE}:{name}" for name in ALLOWED)
    with Replica(zygote, fleet, POOL, framework="kserve", RUNTIME_MODEL_CLASSES=classes) as replica:
        yield replica.wait_ready(), fleet
    fleet.close()


@pytest.mark.parametrize("bot", ["asynchronous", "synchronous", "dictionaries"])
def test_a_class_answers_in_a_pool_as_it_does_alone(served: tuple[Replica, Fleet], bot: str) -> None:
    """Whether it awaits or not, whichever payload it takes, and whichever protocol the client speaks."""
    answer = served[0].multiply(bot)
    assert answer.status == 200, answer.body
    assert answer.json["outputs"][0]["name"] == "y"
    assert answer.json["outputs"][0]["data"] == pytest.approx(expected(ROW)[0], abs=1e-5)
    of_v1 = served[0].post(f"/v1/models/{bot}:predict", {"instances": ROW.tolist()})
    assert of_v1.json["predictions"][0] == pytest.approx(expected(ROW)[0], abs=1e-5)


def test_texts_and_several_outputs_go_both_ways(served: tuple[Replica, Fleet]) -> None:
    """Rows that are dictionaries become one output a key."""
    tensor = {"name": "name", "datatype": "BYTES", "shape": [2, 1], "data": ["Ann", "Zoë"]}
    answer = served[0].post("/v2/models/greeter/infer", {"inputs": [tensor]})
    assert answer.status == 200, answer.body
    assert [output["data"] for output in answer.json["outputs"]] == [["hello Ann", "hello Zoë"], [3, 3]]


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        pytest.param(2e6, 400, "numbers must be at most a million", id="InvalidInput"),
        pytest.param(13.0, 503, "is not ready", id="ModelNotReady"),
        pytest.param(14.0, 500, "RuntimeError: fourteen", id="anything else"),
    ],
)
def test_its_errors_are_told_as_kserve_tells_them(
    served: tuple[Replica, Fleet], number: float, status: int, said: str
) -> None:
    """And the next request is answered."""
    answer = served[0].multiply("synchronous", number, 0, 0, 0)
    assert (answer.status, said in answer.error) == (status, True), answer.body
    assert served[0].multiply("synchronous").status == 200


@pytest.mark.parametrize(
    ("bot", "said"),
    [
        pytest.param("not-allowed", "that the pool's RUNTIME_MODEL_CLASSES allows", id="not allowed"),
        pytest.param("missing", "a class that this pool's image has", id="not there"),
        pytest.param("no-model", "a subclass of kserve.Model", id="another class"),
        pytest.param("never-ready", "a class whose load() sets self.ready", id="never ready"),
    ],
)
def test_a_class_that_cannot_be_served_is_told_of(served: tuple[Replica, Fleet], bot: str, said: str) -> None:
    """503 with what would be right; the others go on."""
    answer = served[0].multiply(bot)
    assert (answer.status, said in answer.error) == (503, True), answer.body
    assert served[0].bots()["resident"] == 4


def test_no_class_is_allowed_unless_somebody_says_so(zygote: Zygote, fleet: Fleet, tmp_path: Path) -> None:
    """An artifact names code of the image, and that is not the artifact's to choose."""
    fleet.publish(own_folder(tmp_path, "linear"))
    fleet.publish_table({KEY: [POOL]})
    with Replica(zygote, fleet, POOL, framework="kserve") as replica:
        answer = replica.wait_ready().multiply("linear")
        assert (answer.status, "RUNTIME_MODEL_CLASSES allows (none)" in answer.error) == (503, True)


def test_its_files_stay_as_long_as_it_does(zygote: Zygote, fleet: Fleet, tmp_path: Path) -> None:
    """A class may read them whenever it likes, whatever becomes of the cache; they go when the bot goes."""
    fleet.publish(own_folder(tmp_path, "lazy", group="non-realtime", own_class=f"{HERE}:SyncLinear"))
    pool = pool_of("non-realtime", "kserve")
    fleet.publish_table({key_of("non-realtime", "kserve"): [pool]})
    with Replica(zygote, fleet, pool, framework="kserve", RUNTIME_MODEL_CLASSES=f"{HERE}:SyncLinear") as replica:
        assert replica.multiply("lazy").status == 200
        cache = fleet.folder / "cache"
        shutil.rmtree(cache / "artifacts")
        shutil.rmtree(cache / "blobs")
        assert replica.multiply("lazy").status == 200
        assert list((cache / "scratch").iterdir())
        assert replica.post("/v2/repository/models/lazy/unload", {}).status == 200
        eventually(lambda: list((cache / "scratch").iterdir()) == [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("model.pkl", b"cos\nsystem\n", id="by its name"),
        pytest.param("model.dat", b"\x80\x04\x95 and so on", id="by its content"),
    ],
)
def test_pickles_are_refused_here_too(fleet: Fleet, tmp_path: Path, name: str, content: bytes) -> None:
    """The class is the image's; what it reads is still a stranger's."""
    folder = own_folder(tmp_path, "pickled")
    (folder / "data" / name).write_bytes(content)
    with pytest.raises(AssertionError, match="loading it can run any code"):
        fleet.publish(folder)
