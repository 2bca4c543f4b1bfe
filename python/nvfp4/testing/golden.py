"""Golden files beside a test: what its inputs must become, kept from one version of the library to the next."""

import pathlib
import re

from .. import _nvfp4
from ..errors import FileError
from ..quantized import load, quantize
from .equality import assert_equal
from .mismatch import Mismatch

_HINT = "pytest --nvfp4-golden-update writes it"


class GoldenFiles:
    """`nvfp4_golden(x, dialect, ...)`: the QuantizedTensor that x must become, from FOLDER/STEM.npz (STEM-NAME.npz
    where a test has several), which the library has made of this x and these options, on any machine."""

    def __init__(self, folder, stem, update, written):
        self._folder, self._stem, self._update, self._written = pathlib.Path(folder), stem, update, written

    def path(self, name=None):
        stem = self._stem if name is None else f"{self._stem}-{name}"
        return self._folder / (re.sub(r"[^\w.-]+", "-", stem).strip("-") + ".npz")

    def __call__(self, x, dialect="te", *, name=None, **options):
        """Options as of quantize(). Raises Mismatch where the file is missing, was made of something else, or is not
        what this version of the library makes of the same."""
        __tracebackhide__ = True
        device = options.pop("device", "cpu")  # golden values need no GPU
        made = quantize(x, dialect, hash_input=True, device=device, **options)
        path = self.path(name)
        if self._update:
            self._write(path, made)
            return made
        if not path.is_file():
            raise Mismatch(f"golden file {path}: there is none; {_HINT}")
        return _checked(path, made)

    def _write(self, path, made):
        if path.is_file() and _is_same(path, made):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save(path)
        self._written.append(path)


def _checked(path, made):
    kept = load(path)
    if difference := _first_difference(_origin(kept), _origin(made)):
        raise Mismatch(f"golden file {path}: made of something else: {difference}; {_HINT} anew")
    try:
        assert_equal(kept, made)
    except Mismatch as error:
        version = kept.manifest["provenance"]["library_version"]
        raise Mismatch(f"golden file {path}: made by nvfp4 {version}, and {_nvfp4.__version__} makes other bytes of "
                       f"the same input:\n{error}\n{_HINT} anew, where that change is meant", error.differing_bytes,
                       error.differing_values, error.diagnosis) from None
    kept._place = made._place
    return kept


def _is_same(path, made):
    try:
        kept = load(path)
        assert_equal(kept, made)
    except (FileError, Mismatch):
        return False
    return not _first_difference(_origin(kept), _origin(made))


def _origin(q):
    """What fixed the bytes, but for the library's version."""
    manifest = q.manifest
    options, provenance = manifest.pop("options"), manifest.pop("provenance")
    del provenance["library_version"]
    return {**manifest, **options, **provenance}


def _first_difference(kept, made):
    for key in sorted(kept.keys() | made.keys()):
        if kept.get(key) != made.get(key):
            return f"{key} was {kept.get(key)}, now {made.get(key)}"
    return None
