"""Golden files as they lie on disk: cases of arrays by name, and a manifest that says what made them."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .array_file import open_arrays
from .errors import FileError, one_line
from .kinds import Path
from .manifest import dialect_records


@dataclass
class GoldenCase:
    """One case: its input, None where the file has none, and its arrays by name."""

    name: str
    input: np.ndarray = field(default=None, repr=False)
    arrays: dict = field(default_factory=dict, repr=False)


def _input_of(file, name):
    for key in (f"{name}/input", name):
        if key in file:
            return file.read(key)
    return None


def read_golden(path: Path, inputs: Path | None = None) -> dict[str, GoldenCase]:
    """{case name: GoldenCase} in the order of the file; uint16 inputs are BF16 bits. `inputs` is a file of inputs,
    where this one has none; its cases without arrays here are those that the producer refuses."""
    with open_arrays(path) as file:
        cases = {}
        for key in file.names:
            name, _, array = key.rpartition("/")
            if name:
                case = cases.setdefault(name, GoldenCase(name))
                if array != "input":
                    case.arrays[array] = file.read(key)
        for case in cases.values():
            case.input = _input_of(file, case.name)
    if inputs is not None:
        _add_inputs(cases, inputs)
    return cases


def _add_inputs(cases, path):
    with open_arrays(path) as file:
        with_input = [key[:-6] for key in file.names if key.endswith("/input")]
        for name in with_input or file.names:
            case = cases.setdefault(name, GoldenCase(name))
            case.input = _input_of(file, name)


def golden_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a golden file, a dict."""
    with open_arrays(path) as file:
        if "manifest" not in file:
            raise FileError(file.file, "array 'manifest'",
                            "it in the file, or producer= or dialect= to say what made it", "none")
        try:
            manifest = json.loads(file.read("manifest").tobytes())
        except ValueError as error:
            raise FileError(file.file, "array 'manifest'", "JSON text", one_line(error)) from None
        if not isinstance(manifest, dict):
            raise FileError(file.file, "array 'manifest'", "a JSON object", type(manifest).__name__)
        return manifest


def options_of(path, m):
    """What quantize() takes to make again what a file of this manifest has."""
    record = dialect_records().get(m.get("dialect"))
    if record is None or m.get("dialect_version") != record["version"]:
        raise FileError(path, "manifest field 'dialect_version'", repr(record and record["version"]),
                        repr(m.get("dialect_version")))
    if "producer" in m:
        return {"producer": m["producer"]}
    keys = ("dialect", "block", "tensor_scale", "columns", "rht", "rht_signs", "seed", "e4m3_max", "select",
            "error_fast", "rounding", "random_map", "sr_rule")
    return {**{key: m[key] for key in keys if key in m}, **({"amax": m["tensor_amax"]} if "tensor_amax" in m else {})}
