"""Golden files: cases with inputs and the bytes that somebody's quantizer makes of them. `nvfp4 golden` of the program
reads and writes the same ones; it alone writes kinds gemm, linear and mma, and has probes."""

import json
from typing import Any

import numpy as np

from . import _nvfp4
from .array_file import write_arrays
from .arrays import dtype_name, matrix
from .errors import FileError
from .golden_compare import account, differing, new_total, require_form
from .golden_file import GoldenCase, golden_manifest, options_of, read_golden
from .golden_products import PRODUCT_KINDS, check_products
from .kinds import Dtype, Path
from .manifest import dialect_records
from .quantized import profile_of, quantize

_RESULTS = ("packed", "scales", "scales_swizzled", "global", "dequant", "blocks", "col_packed", "col_scales",
            "col_global", "scale_before_cast", "dequant_bf16_as_f32", "transformed")


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


def _refused_here(case, error, total):
    """The file has results where the producer's rules refuse the input: every byte of them is too many."""
    total["differing_bytes"] += sum(array.nbytes for array in case.arrays.values())
    text = f"case {case.name}: the file has results, but this producer refuses the input: {error}"
    total["first"] = total["first"] or {"case": case.name, "text": text}


def _check_case(file, case, options, total):
    try:
        q = quantize(case.input, dtype=_dtype_of(case.input), **options)
    except ValueError as error:
        _refused_here(case, error, total)
        return
    differing_bytes = 0
    for name, theirs in case.arrays.items():
        ours = _made_for(name, q, case, options)
        if ours is None:
            raise FileError(file, f"array '{case.name}/{name}'", f"one of {', '.join(_RESULTS)}",
                            "an array that this producer does not make")
        require_form(file, case, name, theirs, ours)
        found = differing(name, theirs, ours.reshape(theirs.shape), case.arrays, q)
        differing_bytes += account(total, case, name, theirs, ours, found)
    total["equal"] += not differing_bytes


def check_golden(path: Path, inputs: Path | None = None, *, producer: str | None = None, dialect: str | None = None,
                 **options: Any) -> dict[str, Any]:
    """Recomputes every case and compares byte for byte: {"cases", "equal", "differing_bytes", "not_run", "refused",
    "arrays", "first"}. What made the file its manifest says, or `producer`, or `dialect` and options of quantize()."""
    if producer is not None:
        made_by = {"producer": producer}
    elif dialect is not None:
        made_by = {"dialect": dialect, **options}
    else:
        manifest = golden_manifest(path)
        if manifest.get("kind") in PRODUCT_KINDS:
            return check_products(path, manifest)
        if manifest.get("kind", "quantize") not in ("quantize", "rht"):
            raise FileError(path, "manifest field 'kind'",
                            "quantize, rht, gemm, linear or mma; `nvfp4 golden check` has probes", repr(manifest["kind"]))
        made_by = options_of(path, manifest)
    return _check_cases(path, read_golden(path, inputs), made_by)


def _check_cases(path, cases, made_by):
    total = new_total()
    for case in cases.values():
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
    write_arrays(path, {**arrays, "manifest": np.frombuffer(text.encode(), np.uint8)}, overwrite)
    return refused


def golden_cases(pack: str, *, dtype: Dtype = "float32", seed: int = 0) -> dict[str, np.ndarray]:
    """{name: input} of one case pack: "ties", "zeros", "subnormals", "saturation", "ragged", "nonfinite", "random",
    "witnesses". BF16 is uint16 bits."""
    name = dtype_name(dtype)
    return {case: x.view(np.float16) if name == "fp16" else x for case, x in _nvfp4.make_cases(pack, name, seed)}
