"""docs/python.md: every block is a line that runs, or an excerpt of the example project, which runs."""

import pathlib
import re
import shutil

import pytest

from conftest import failures_at_the_prompt, fenced

pytest_plugins = ["pytester"]

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "python_example"
PAGE = ROOT / "docs" / "python.md"

if not PAGE.is_file():
    pytest.skip("not run: no page beside these tests", allow_module_level=True)


def blocks(language):
    return [text for found, text in fenced(PAGE) if found == language]


def test_every_block_is_of_a_language_that_is_tested():
    languages = re.findall(r"^```(\w+)$", PAGE.read_text(), re.MULTILINE)
    assert {language: languages.count(language) for language in languages} == {"sh": 1, "python": 10, "text": 1, "console": 1}


def test_examples_at_the_prompt():
    assert not failures_at_the_prompt(PAGE)


def test_excerpts_of_the_example():
    files = [path.read_text() for path in EXAMPLE.glob("*.py")]
    for block in blocks("python"):
        assert block.startswith(">>>") or any(block in text for text in files), block


def test_the_message(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE)
    import test_wrong_kernel

    assert blocks("text") == [test_wrong_kernel.MESSAGE]


def test_what_is_installed():
    assert blocks("sh") == ["pip install '.[test]'\n"]
    assert re.search(r'^test = \[.*"hypothesis.*"ml_dtypes.*"pytest', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_the_example_project(pytester):
    (console,) = blocks("console")
    assert console == "$ pytest tests/python_example\n17 passed\n"
    shutil.copytree(EXAMPLE, pytester.path / "tests" / "python_example")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "tests/python_example")
    result.assert_outcomes(passed=17)


def test_the_line_to_run(program):
    explained = program("explain", "5", "--amax", "5.875", "--tensor-amax", "7", "--dialect", "te")
    assert explained in "".join(blocks("python"))
