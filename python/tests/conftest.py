import doctest
import json
import os
import pathlib
import re
import subprocess

import numpy as np
import pytest


@pytest.fixture(scope="session")
def program():
    """Runs the program that NVFP4_PROGRAM names, whose bytes are the expected ones."""
    path = os.environ.get("NVFP4_PROGRAM")
    if not path:
        pytest.skip("not run: NVFP4_PROGRAM names no program")

    def run(*arguments, code=0):
        done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == code, done.stderr + done.stdout
        return done.stdout

    def said(*arguments, code=0):
        """What --json says, less the command and the machine."""
        report = json.loads(run(*arguments, "--json", code=code))
        return {key: value for key, value in report.items() if key not in ("version", "command", "machine")}

    run.json = said
    return run


@pytest.fixture(scope="session")
def golden():
    """The folder of golden files, where the tests run in the repository."""
    folder = pathlib.Path(__file__).parents[2] / "tests" / "golden"
    if not folder.is_dir():
        pytest.skip("not run: no golden files beside these tests")
    return folder


def wide(rows, cols, seed=0):
    """Numbers of many magnitudes, ties, zeros of both signs and a block of zeros, as float32."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, cols)) * np.exp2(random.integers(-12, 12, (rows, cols)))
    x[random.random((rows, cols)) < 0.05] = -0.0
    x[0, :16] = 0
    x[-1, :8] = [6, 5, 3.5, 2.5, 1.75, 1.25, 0.75, 0.25]
    return x.astype(np.float32)


def bf16_bits(x):
    """x cut to BF16."""
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def fenced(page):
    """(language, text) of every fenced block of a page."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def failures_at_the_prompt(page):
    """What a page's blocks at Python's prompt, run in their order, give in place of what they show."""
    text = "\n".join(block for language, block in fenced(page) if language == "python" and block.startswith(">>>"))
    failures = []
    example = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(example, out=failures.append)
    return "".join(failures)
