import pathlib
import sys

import pytest

torch = pytest.importorskip("torch", reason="not run: no torch")

FOLDER = pathlib.Path(__file__).parents[1] / "training"
SMALL = ["--steps", "30", "--again", "4", "--width", "32", "--blocks", "1", "--rows", "2", "--length", "32"]


@pytest.fixture
def train(monkeypatch):
    if not FOLDER.is_dir():
        pytest.skip("not run: no training script beside these tests")
    monkeypatch.syspath_prepend(str(FOLDER))
    import train

    yield train
    for name in ("train", "language_model", "loss_plot"):
        sys.modules.pop(name, None)


def test_every_recipe_trains(train, tmp_path, capsys):
    code = train.main(["-o", str(tmp_path), *SMALL])
    table = (tmp_path / "table.md").read_text()
    assert code == 0, table
    assert table.count("| yes |") == len(train.RECIPES) and table in capsys.readouterr().out
    assert len((tmp_path / "losses.csv").read_text().splitlines()) == 31
    assert (tmp_path / "losses.svg").read_text().count("<polyline") == len(train.RECIPES)


def test_faults_are_found(train):
    falling = [4.0 - step / 10 for step in range(20)]
    assert train.faults(falling, True) == []
    assert train.faults(falling[::-1], True) == ["losses do not fall"]
    assert train.faults([*falling[:-1], float("nan")], False) == [
        "a loss is not finite", "losses do not fall", "the same seed gave other bits"]
