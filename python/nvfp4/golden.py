"""Golden files: cases with inputs and the bytes that somebody's quantizer makes of them. `nvfp4 golden` of the program
reads and writes the same ones; kinds beside quantize and rht are the program's alone."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _nvfp4
from .arrays import dtype_name, matrix
from .errors import FileError
from .kinds import Dtype, Path
from .manifest import dialect_records
from .npz import Arrays, write_npz
from .quantized import profile_of, quantize

_RESULTS = ("packed", "scales", "scales_swizzled", "global", "dequant", "blocks", "col_packed", "col_scales",
            "col_global", "scale_before_cast", "dequant_bf16_as_f32", "transformed")


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
    with Arrays(path) as file:
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
    with Arrays(path) as file:
        with_input = [key[:-6] for key in file.names if key.endswith("/input")]
        for name in with_input or file.names:
            case = cases.setdefault(name, GoldenCase(name))
            case.input = _input_of(file, name)


def golden_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a golden file, a dict."""
    with Arrays(path) as file:
        if "manifest" not in file:
            raise FileError(file.file, "array 'manifest'",
                            "it in the file, or producer= or dialect= to say what made it", "none")
        try:
            return json.loads(file.read("manifest").tobytes())
        except ValueError as error:
            raise FileError(file.file, "array 'manifest'", "JSON text", str(error)) from None


def _dtype_of(x):
    return "bf16" if x.dtype == np.uint16 else None


def _transformed(case, options):
    """What the transform makes, widened: of the columns where the producer has those."""
    profile = profile_of(**options)
    if not profile.rht:
        return None
    m = matrix(case.input, _dtype_of(case.input))
    y = _nvfp4.transform_of(profile, m.array, m.dtype)
    return y if y.dtype == np.float32 else _nvfp4.converted(y, m.dtype, "fp32", "cpu", 0)


def _made_for(name, q, case, options):
    """What this library makes for an array of a golden file."""
    if name == "transformed":
        return _transformed(case, options)
    of = q.columns if name.startswith("col_") else q
    if of is None:
        return None
    t = of._tensor
    made = {
        "packed": lambda: t.packed, "scales": lambda: t.scales, "global": lambda: t.global_scale,
        "scales_swizzled": lambda: _nvfp4.to_layout(t.scales, *t.scales.shape, "128x4"),
        "dequant": lambda: _nvfp4.dequantize(t, "fp32", "cpu", 0), "blocks": lambda: _nvfp4.ggml_blocks(t),
        "scale_before_cast": lambda: _e4m3_values(t.scales), "dequant_bf16_as_f32": lambda: _decompressed(t),
    }
    return made[name.removeprefix("col_")]() if name.removeprefix("col_") in made else None


def _e4m3_values(scales):
    exponent, mantissa = np.divmod(np.arange(128), 8)
    values = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(8 + mantissa, exponent - 10)).astype(np.float32)
    values[127] = np.nan
    return np.concatenate([values, -values])[scales]


def _e2m1_values(codes):
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    return np.concatenate([values, -values])[codes]


def _decompressed(t):
    """What NVFP4PackedCompressor.decompress yields: element * (scale / global) in BF16, widened."""
    with np.errstate(all="ignore"):
        scales = np.repeat(_e4m3_values(t.scales) / t.global_scale[0], 16, axis=1)[:, : t.cols]
        values = np.ascontiguousarray(_e2m1_values(t.codes()) * scales)
    bits = _nvfp4.converted(values, "fp32", "bf16", "cpu", 0)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _is_nan_byte(scales):
    return (scales & 0x7F) == 0x7F


def _differing(name, theirs, ours, given, q):
    """The number of differing bytes, and the flat index of the first, by the rules of tests/golden/README.md."""
    if theirs.dtype == np.float32:
        same = (theirs.view(np.uint32) == ours.view(np.uint32)) | (np.isnan(theirs) & np.isnan(ours))
        changed = np.where(same, 0, theirs.view(np.uint32) ^ ours.view(np.uint32))
        count = sum(int(((changed >> shift & 0xFF) != 0).sum()) for shift in (0, 8, 16, 24))
    else:
        same = theirs == ours
        if "scales" in name:
            same |= _is_nan_byte(theirs) & _is_nan_byte(ours)
        if name.endswith("packed") and dialect_records()[q.dialect]["nan_codes_vary"]:
            same |= _under_nan(name, given, q, theirs.shape)
        count = int((~same).sum())
    return count, int(np.flatnonzero(~same.ravel())[0]) if count else None


def _under_nan(name, given, q, shape):
    of = q.columns if name.startswith("col_") else q
    ours = of._tensor.scales
    theirs = given.get(name.replace("packed", "scales"), ours)
    both = _is_nan_byte(ours) & _is_nan_byte(theirs)
    return np.repeat(both, shape[1] // both.shape[1], axis=1)


def _element_bits(array, index):
    flat = array.reshape(-1)
    return int(flat.view(np.uint32)[index] if flat.dtype == np.float32 else flat[index])


def _first(case, name, theirs, ours, index):
    row, col = divmod(index, theirs.shape[-1])
    expected, actual = _element_bits(theirs, index), _element_bits(ours, index)
    digits = 8 if theirs.dtype == np.float32 else 2
    text = (f"case {case.name}, array {name} at ({row}, {col}): the file has 0x{expected:0{digits}X}, recomputed "
            f"0x{actual:0{digits}X}")
    return {"case": case.name, "array": name, "row": row, "col": col, "expected": expected, "actual": actual,
            "text": text}


def _options_of(path, producer, dialect, options):
    """What quantize() takes to make the file's cases again."""
    if producer is not None:
        return {"producer": producer}
    if dialect is not None:
        return {"dialect": dialect, **options}
    m = golden_manifest(path)
    if m.get("kind", "quantize") not in ("quantize", "rht"):
        raise FileError(path, "manifest field 'kind'", "quantize or rht; `nvfp4 golden check` has the others",
                        repr(m.get("kind")))
    record = dialect_records().get(m.get("dialect"))
    if record is None or m.get("dialect_version") != record["version"]:
        raise FileError(path, "manifest field 'dialect_version'", repr(record and record["version"]),
                        repr(m.get("dialect_version")))
    if "producer" in m:
        return {"producer": m["producer"]}
    keys = ("dialect", "block", "tensor_scale", "columns", "rht", "rht_signs", "seed", "e4m3_max", "select",
            "error_fast", "rounding", "random_map", "sr_rule")
    return {**{key: m[key] for key in keys if key in m}, **({"amax": m["tensor_amax"]} if "tensor_amax" in m else {})}


def _refused_here(case, error, total):
    """The file has results where the producer's rules refuse the input: every byte of them is too many."""
    total["differing_bytes"] += sum(array.nbytes for array in case.arrays.values())
    text = f"case {case.name}: the file has results, but this producer refuses the input: {error}"
    total["first"] = total["first"] or {"case": case.name, "text": text}


def _require_form(file, case, name, theirs, ours):
    place = f"array '{case.name}/{name}'"
    if ours is None:
        raise FileError(file, place, f"one of {', '.join(_RESULTS)}", "an array that this producer does not make")
    any_shape = name == "scales_swizzled" and ours.size == theirs.size
    if ours.dtype != theirs.dtype or (ours.shape != theirs.shape and not any_shape):
        raise FileError(file, place, f"{ours.dtype} {ours.shape}", f"{theirs.dtype} {theirs.shape}")


def _check_case(file, case, options, total):
    try:
        q = quantize(case.input, dtype=_dtype_of(case.input), **options)
    except ValueError as error:
        _refused_here(case, error, total)
        return
    differing = 0
    for name, theirs in case.arrays.items():
        ours = _made_for(name, q, case, options)
        _require_form(file, case, name, theirs, ours)
        count, index = _differing(name, theirs, ours.reshape(theirs.shape), case.arrays, q)
        total["arrays"] += 1
        differing += count
        if count:
            total["first"] = total["first"] or _first(case, name, theirs, ours, index)
    total["differing_bytes"] += differing
    total["equal"] += not differing


def check_golden(path: Path, inputs: Path | None = None, *, producer: str | None = None, dialect: str | None = None,
                 **options: Any) -> dict[str, Any]:
    """Recomputes every case and compares byte for byte: {"cases", "equal", "differing_bytes", "not_run", "refused",
    "arrays", "first"}. What made the file its manifest says, or `producer`, or `dialect` and options of quantize()."""
    made_by = _options_of(path, producer, dialect, options)
    total = {"cases": 0, "equal": 0, "differing_bytes": 0, "not_run": 0, "refused": 0, "arrays": 0, "first": None}
    for case in read_golden(path, inputs).values():
        if not case.arrays:
            total["refused"] += 1
            continue
        if case.input is None:
            raise FileError(path, f"case '{case.name}'", "an input of that name", "none")
        total["cases"] += 1
        _check_case(path, case, made_by, total)
    if not total["cases"]:
        raise FileError(path, "file", "a case with results", "none")
    return total


def _made_by(kind, maker, options):
    if kind not in ("quantize", "rht"):
        raise ValueError(f"kind '{kind}': expected one of quantize, rht; `nvfp4 golden make` has the others")
    if kind == "rht" and "producer" in maker and not profile_of(**maker).rht:
        raise ValueError(f"kind 'rht': producer '{maker['producer']}' transforms nothing")
    return {**maker, **({"rht": 16} if kind == "rht" and "producer" not in maker else {}), **options}


def _tensor_results(t, prefix):
    arrays = {prefix + "packed": t.packed, prefix + "scales": t.scales}
    return arrays if t.global_scale is None else {**arrays, prefix + "global": t.global_scale}


def _results(case, by, kind):
    q = quantize(case.input, dtype=_dtype_of(case.input), **by)
    arrays = {**_tensor_results(q._tensor, ""), "dequant": _nvfp4.dequantize(q._tensor, "fp32", "cpu", 0)}
    if q.columns is not None:
        arrays.update(_tensor_results(q.columns._tensor, "col_"))
    return {**arrays, "transformed": _transformed(case, by)} if kind == "rht" else arrays


def _profile_record(profile):
    spec, record = profile.spec, {"producer": profile.name} if profile.name else {}
    record.update(dialect=spec.dialect, block=spec.block, tensor_scale=spec.tensor_scale)
    if spec.amax is not None:
        record["tensor_amax"] = spec.amax
    if dialect_records()[spec.dialect]["four_over_six"]:
        record.update(e4m3_max=spec.e4m3_max, select=spec.select, error_fast=spec.error_fast)
    if (s := spec.stochastic) is not None:
        record.update(rounding="sr", random_map=s.map, sr_rule=s.rule, seed=s.seed)
    if profile.rht and not profile.name:
        record.update(rht=profile.rht, rht_signs=profile.rht_signs)
    if profile.rht and profile.rht_signs == "seed":
        record["seed"] = profile.seed
    return record


def _golden_record(profile, seed):
    record = dialect_records()[profile.spec.dialect]
    made = {"columns": profile.columns, "dialect_version": record["version"], "global_is": record["global_is"]}
    if record["global_is"] == "amax":
        made["global_divisor"] = profile.spec.global_divisor
    return {**made, "scale_format": record["scale_format"],
            "provenance": {"library_version": _nvfp4.__version__, "seed": seed}}


def make_golden(path: Path, dialect: str = "te", *, producer: str | None = None, packs: list[str] | None = None,
                kind: str = "quantize", dtype: Dtype = "float32", overwrite: bool = True, **options: Any) -> list[str]:
    """Writes golden values of the library's case packs (all without `packs`; golden_cases() has their names), by a
    dialect and options of quantize(), or a producer; kind "rht" adds what the transform made. `nvfp4 golden make`
    writes the same file. Returns the names of the cases that the producer refuses; their inputs are in the file."""
    packs, name, seed = list(packs or _nvfp4.case_packs()), dtype_name(dtype), options.get("seed", 0)
    by = _made_by(kind, {"producer": producer} if producer is not None else {"dialect": dialect}, options)
    profile, arrays, refused = profile_of(**by), {}, []
    for pack in packs:
        for case, x in golden_cases(pack, dtype=name, seed=seed).items():
            arrays[f"{case}/input"] = x
            try:
                results = _results(GoldenCase(case, x), by, kind)
            except ValueError:
                refused.append(case)
                continue
            arrays.update({f"{case}/{key}": array for key, array in results.items()})
    manifest = {**_profile_record(profile), "kind": kind, **_golden_record(profile, seed), "packs": packs,
                "input_dtype": name, "refused": refused}
    text = json.dumps(manifest, separators=(",", ":"))
    write_npz(path, {**arrays, "manifest": np.frombuffer(text.encode(), np.uint8)}, overwrite)
    return refused


def golden_cases(pack: str, *, dtype: Dtype = "float32", seed: int = 0) -> dict[str, np.ndarray]:
    """{name: input} of one case pack: "ties", "zeros", "subnormals", "saturation", "ragged", "nonfinite", "random",
    "witnesses". BF16 is uint16 bits."""
    name = dtype_name(dtype)
    return {case: x.view(np.float16) if name == "fp16" else x for case, x in _nvfp4.make_cases(pack, name, seed)}
