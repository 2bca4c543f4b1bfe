import pytest

import nvfp4

pytest_plugins = ["pytester"]

PROJECT = '''
import numpy as np
import nvfp4
from nvfp4.testing import assert_equal

def x():
    return np.arange(64, dtype=np.float32).reshape(2, 32)

def test_one(nvfp4_golden):
    assert_equal(nvfp4.quantize(x()), nvfp4_golden(x()), input=x())

def test_several(nvfp4_golden):
    for block in ("1x16", "16x16"):
        golden = nvfp4_golden(x(), "te_ref", block=block, name=block)
        assert_equal(nvfp4.quantize(x(), "te_ref", block=block), golden)
'''


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    pytester.makepyfile(test_it=PROJECT)
    return pytester


def run(project, *options, **outcomes):
    result = project.runpytest_inprocess("-p", "no:cacheprovider", *options)
    result.assert_outcomes(**outcomes)
    return result.stdout.str()


def golden_files(project):
    return sorted(path.name for path in (project.path / "golden").iterdir())


def test_golden_files_are_asked_for_written_and_read(project):
    assert "there is none; pytest --nvfp4-golden-update writes it" in run(project, failed=2)
    out = run(project, "--nvfp4-golden-update", passed=2)
    assert out.count("nvfp4: wrote ") == 3
    assert golden_files(project) == ["test_it-test_one.npz", "test_it-test_several-16x16.npz",
                                     "test_it-test_several-1x16.npz"]
    assert "nvfp4: wrote" not in run(project, passed=2)


def test_an_update_leaves_what_is_right(project):
    run(project, "--nvfp4-golden-update", passed=2)
    before = {path: path.stat().st_mtime_ns for path in (project.path / "golden").iterdir()}
    assert "nvfp4: wrote" not in run(project, "--nvfp4-golden-update", passed=2)
    assert before == {path: path.stat().st_mtime_ns for path in (project.path / "golden").iterdir()}


@pytest.mark.parametrize("old, new, difference", [
    ("np.arange(64", "np.arange(1, 65", "input_sha256 was "),
    ("nvfp4_golden(x())", "nvfp4_golden(x(), 'paper')", "dialect was te, now paper"),
    ("nvfp4_golden(x())", "nvfp4_golden(x(), amax=63.0)", "tensor_amax was None, now 63.0"),
])
def test_a_file_of_something_else_is_refused(project, old, new, difference):
    run(project, "--nvfp4-golden-update", passed=2)
    project.makepyfile(test_it=PROJECT.replace(old, new))
    out = run(project, "-k", "test_one", failed=1, deselected=1)
    assert "made of something else: " + difference in out


def test_changed_bytes_are_refused(project):
    run(project, "--nvfp4-golden-update", passed=2)
    path = project.path / "golden" / "test_it-test_one.npz"
    q = nvfp4.load(path)
    q.packed[1, 3] ^= 4
    q.save(path)
    out = run(project, "-k", "test_one", failed=1, deselected=1)
    assert "makes other bytes of the same input" in out and "first: packed (1, 3)" in out


def test_the_header_says_what_runs(project):
    assert f"\nnvfp4: {nvfp4.__version__}, devices cpu" in run(project, "--nvfp4-golden-update", passed=2)
