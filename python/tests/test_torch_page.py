"""docs/torch.md: every block is lines at the prompt, which run, and what it counts is counted."""

import pathlib

import pytest

from conftest import failures_at_the_prompt, fenced

torch = pytest.importorskip("torch", reason="not run: no torch")

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "torch.md"

if not PAGE.is_file():
    pytest.skip("not run: no page beside these tests", allow_module_level=True)


def test_every_block_is_at_the_prompt():
    blocks = fenced(PAGE)
    assert len(blocks) == 3 == PAGE.read_text().count("```python\n")
    assert all(language == "python" and text.startswith(">>>") for language, text in blocks)
    assert "\n    " not in "".join(part for part in PAGE.read_text().split("```")[::2])


def test_examples_at_the_prompt():
    assert not failures_at_the_prompt(PAGE)


def test_the_weights_of_the_training(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "python" / "training"))
    from language_model import LanguageModel

    assert [sum(p.numel() for p in LanguageModel(characters).parameters()) for characters in (1, 103)] == [
        405_248, 431_360]
    assert "404,992 weights and 256" in PAGE.read_text() and "431,360 for the 103" in PAGE.read_text()
