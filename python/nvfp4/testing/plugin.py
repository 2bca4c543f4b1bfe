"""The pytest plugin: the fixture nvfp4_golden and the option --nvfp4-golden-update. Golden values are the cpu layer's,
so nothing is skipped on a machine without a GPU."""

import pytest

_written = pytest.StashKey()


def pytest_addoption(parser):
    parser.getgroup("nvfp4").addoption("--nvfp4-golden-update", action="store_true",
                                       help="write the golden files that nvfp4_golden reads, from the library")


def pytest_configure(config):
    config.stash[_written] = []


@pytest.fixture
def nvfp4_golden(request):
    """nvfp4_golden(x, dialect, ...): what x must become, kept beside the test in golden/; options as of
    nvfp4.quantize(), and name= where a test has several."""
    from .golden import GoldenFiles

    return GoldenFiles(request.path.parent / "golden", f"{request.path.stem}-{request.node.name}",
                       request.config.getoption("--nvfp4-golden-update"), request.config.stash[_written])


def pytest_report_header():
    import nvfp4

    return f"nvfp4: {nvfp4.__version__}, devices {', '.join(nvfp4.devices())}"


def pytest_terminal_summary(terminalreporter, config):
    for path in config.stash[_written]:
        terminalreporter.write_line(f"nvfp4: wrote {path}")
