"""The manifest of a quantized tensor: JSON text that says, beside its arrays, what fixes its bytes."""

import functools
import json
import math

from . import _nvfp4
from .errors import FileError, one_line

#: Options that the spec holds; the rest are the caller's.
_SPEC_OPTIONS = {"tensor_scale", "tensor_amax", "dtype", "experts", "e4m3_max", "select", "error_fast", "rounding",
                 "sr_rule", "random_map", "random", "stream", "rounds"}


@functools.cache
def dialect_records():
    return {record["name"]: record for record in _nvfp4.dialects()}


def codes_per_byte(dialect):
    return 2 if dialect_records()[dialect]["element"] == "e2m1" else 1


def _float_text(x):
    """As the program writes numbers: an exponent from 1e15 on."""
    text = repr(x)
    if "e" in text or abs(x) < 1e15:
        return text
    digits = text.split(".")[0]
    sign, digits = ("-", digits[1:]) if digits[0] == "-" else ("", digits)
    rest = digits[1:].rstrip("0")
    return f"{sign}{digits[0]}{'.' + rest if rest else ''}e+{len(digits) - 1}"


def json_text(value):
    """One line, keys sorted, no blanks."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{json_text(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(json_text, value)) + "]"
    if isinstance(value, float):
        return _float_text(value)
    return json.dumps(value, ensure_ascii=False)


def _options(spec, dtype, extra):
    options = dict(extra, tensor_scale=spec.tensor_scale, dtype=dtype)
    if spec.amax is not None:
        options["tensor_amax"] = "inf" if math.isinf(spec.amax) else spec.amax
    if dialect_records()[spec.dialect]["four_over_six"]:
        options.update(e4m3_max=spec.e4m3_max, select=spec.select, error_fast=spec.error_fast)
    if (s := spec.stochastic) is not None:
        options.update(rounding="sr", sr_rule=s.rule, random_map=s.map, stream=s.stream, rounds=s.rounds,
                       random="caller's words" if s.from_caller else "philox")
    return options


def manifest_of(tensor, layout, extra, seed, input_sha256):
    """The record as a dict, its keys those of the files."""
    spec = tensor.spec
    record = dialect_records()[spec.dialect]
    manifest = {
        "dialect": spec.dialect,
        "dialect_version": record["version"],
        "options": _options(spec, tensor.dtype, extra),
        "global_is": record["global_is"],
        "scale_format": record["scale_format"],
        "block": spec.block,
        "block_cols": spec.block_cols,
        "shape": [tensor.rows, tensor.cols],
        "layout": layout,
        "provenance": {"library_version": _nvfp4.__version__, "seed": seed},
    }
    if record["global_block_cols"]:
        manifest["global_block_cols"] = record["global_block_cols"]
    if record["global_is"] == "amax":
        manifest["global_divisor"] = spec.global_divisor
    if input_sha256:
        manifest["provenance"]["input_sha256"] = input_sha256
    return manifest


def _stochastic(options, seed):
    if "rounding" not in options:
        return None
    return _nvfp4.Stochastic(rule=options["sr_rule"], map=options["random_map"], seed=seed,
                             stream=options["stream"], rounds=options["rounds"],
                             from_caller=options["random"] != "philox")


def spec_of(manifest):
    """Its spec. Throws KeyError, TypeError or ValueError where a field is missing or contradicts the others."""
    options = manifest["options"]
    four_over_six = {key: options[key] for key in ("e4m3_max", "select", "error_fast") if key in options}
    amax = options.get("tensor_amax")
    return _nvfp4.Spec(manifest["dialect"], block=manifest["block"], tensor_scale=options["tensor_scale"],
                       amax=None if amax is None else float(amax),
                       stochastic=_stochastic(options, manifest["provenance"]["seed"]), **four_over_six)


def caller_options(manifest):
    return {key: value for key, value in manifest["options"].items() if key not in _SPEC_OPTIONS}


def _require(manifest, file, key, expected):
    if manifest.get(key) != expected:
        raise FileError(file, f"manifest field '{key}'", repr(expected), repr(manifest.get(key)))


def _require_stack(manifest, file, stack):
    options = manifest.get("options")
    experts = isinstance(options, dict) and options.get("experts")
    sound = type(experts) is int and experts > 0 if stack else not experts
    if not sound:
        raise FileError(file, "array 'manifest'", "a stack of experts" if stack else "one matrix",
                        f"a stack of {experts} experts" if experts else "one matrix")


def parse_manifest(text, file, stack=False):
    """The dict of a file's manifest, held against this library's own record of the dialect."""
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise FileError(file, "array 'manifest'", "JSON text", one_line(error)) from None
    if not isinstance(manifest, dict):
        raise FileError(file, "array 'manifest'", "a JSON object", type(manifest).__name__)
    record = dialect_records().get(manifest.get("dialect"))
    if record is None:
        raise FileError(file, "manifest field 'dialect'", "a dialect of this version", repr(manifest.get("dialect")))
    _require_stack(manifest, file, stack)
    _require(manifest, file, "dialect_version", record["version"])
    _require(manifest, file, "global_is", record["global_is"])
    _require(manifest, file, "scale_format", record["scale_format"])
    return manifest
