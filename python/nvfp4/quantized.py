"""QuantizedTensor, and what makes, stores and decodes one."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import numpy as np

from . import _nvfp4
from .array_file import open_arrays, write_arrays
from .arrays import Place, byte_array, device_for, dtype_name, float_array, matrix, thread_count
from .errors import FileError, one_line
from .kinds import Array, Dtype, Path
from .manifest import caller_options, codes_per_byte, dialect_records, json_text, manifest_of, parse_manifest, spec_of
from .npz import npy_bytes


class QuantizedTensor:
    """Codes, block scales and second-level scales of a matrix, with the record of what made them.

    Arrays are views of the tensor's own memory, NumPy's or torch's as the input was; none is copied on a CPU.
    """

    def __init__(self, tensor, *, columns=None, layout="linear", options=None, seed=0, input_sha256="", place=Place()):
        self._tensor, self._columns, self._layout = tensor, columns, layout
        self._options, self._seed, self._input_sha256 = dict(options or {}), seed, input_sha256
        self._place = place

    @classmethod
    def from_arrays(cls, packed: Array, scales: Array, global_scale: Array | None = None, *,
                    shape: tuple[int, int] | None = None, dialect: str = "te", block: str | None = None,
                    tensor_scale: str | None = None, e4m3_max: int = 448, select: str = "mae", error_fast: bool = False,
                    dtype: Dtype = "fp32", layout: str = "linear") -> QuantizedTensor:
        """Somebody's arrays as a tensor of this dialect; they are copied. `shape` is the unpadded one, else K is taken
        to be all that `packed` holds. Scales of another `layout` are put in linear order."""
        place = Place.of(packed)
        packed, scales = byte_array(packed, "packed"), byte_array(scales, "scales")
        if packed.ndim < 2:
            raise ValueError(f"packed: expected two dimensions, found shape {packed.shape}")
        spec = _nvfp4.Spec(dialect, block=block, tensor_scale=tensor_scale, e4m3_max=e4m3_max, select=select,
                           error_fast=error_fast)
        rows, cols = packed.size // packed.shape[-1], packed.shape[-1] * codes_per_byte(dialect)
        if shape is not None:
            rows, cols = shape
        if layout != "linear":
            scales = _nvfp4.from_layout(scales, rows, -(-cols // spec.block_cols), layout)
        values = None if global_scale is None else float_array(global_scale, "global_scale")
        return cls(_nvfp4.Tensor(spec, dtype_name(dtype), rows, cols, packed, scales, values), layout=layout,
                   place=place)

    @property
    def packed(self) -> Array:
        """uint8 (M, ceil(K / block) * block / 2): two codes a byte, the even column in the low nibble; FP8 has one."""
        return self._place.put(self._tensor.packed)

    @property
    def scales(self) -> Array:
        """uint8 (M, ceil(K / block)): E4M3 or E8M0 bytes in linear order; a 16x16 scale stands on each of its rows."""
        return self._place.put(self._tensor.scales)

    @property
    def global_scale(self) -> Array | None:
        """float32 (1,), (M,) or (M, parts) as the dialect keeps them (te: the amax); None where it has none."""
        return self._place.put(self._tensor.global_scale)

    @property
    def scales_swizzled(self) -> Array:
        """The scales in `layout`, padded, as the hardware wants them."""
        return self.scales_as(self._layout)

    def scales_as(self, layout: str) -> Array:
        """The scales in another layout: "linear", "128x4", "8x4", "4-token"."""
        t = self._tensor
        return self._place.put(_nvfp4.to_layout(t.scales, *t.scales.shape, layout))

    @property
    def columns(self) -> QuantizedTensor | None:
        """The quantized transpose, where `columns` asked for it or the producer has it; else None."""
        return self._columns

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the matrix, unpadded."""
        return self._tensor.rows, self._tensor.cols

    @property
    def dialect(self) -> str:
        return self._tensor.spec.dialect

    @property
    def block(self) -> str:
        return self._tensor.spec.block

    @property
    def layout(self) -> str:
        return self._layout

    @property
    def dtype(self) -> str:
        """The element type of the input: "fp32", "bf16" or "fp16"."""
        return self._tensor.dtype

    @property
    def manifest(self) -> dict[str, Any]:
        """The record in the files, as a dict."""
        return manifest_of(self._tensor, self._layout, self._options, self._seed, self._input_sha256)

    @property
    def manifest_json(self) -> str:
        """Its text, as the files have it."""
        return json_text(self.manifest)

    def unpacked(self) -> Array:
        """One code an element, uint8 (M, K)."""
        return self._place.put(self._tensor.codes())

    def to_ml_dtypes(self) -> tuple[np.ndarray, np.ndarray]:
        """(codes (M, K) as float4_e2m1fn, scales as float8_e4m3fn or float8_e8m0fnu) of ml_dtypes."""
        import ml_dtypes

        record = dialect_records()[self.dialect]
        element = {"e2m1": "float4_e2m1fn", "e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2"}[record["element"]]
        scale = {"e4m3": "float8_e4m3fn", "e8m0": "float8_e8m0fnu"}[record["scale_format"]]
        return (self._tensor.codes().view(getattr(ml_dtypes, element)),
                self._tensor.scales.view(getattr(ml_dtypes, scale)))

    def to_torch(self) -> tuple[Any, Any]:
        """(packed as float4_e2m1fn_x2, scales as float8_e4m3fn or float8_e8m0fnu) of torch, sharing the memory."""
        import torch

        record = dialect_records()[self.dialect]
        element = {"e2m1": "float4_e2m1fn_x2", "e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2"}[record["element"]]
        scale = {"e4m3": "float8_e4m3fn", "e8m0": "float8_e8m0fnu"}[record["scale_format"]]
        place = Place("torch", self._place.device)
        return (place.put(self._tensor.packed).view(getattr(torch, element)),
                place.put(self._tensor.scales).view(getattr(torch, scale)))

    def dequantize(self, dtype: Dtype = "float32", *, device: str | None = None,
                   num_threads: int | None = None) -> Array:
        """Its values by the dialect's own rule."""
        return dequantize(self, dtype, device=device, num_threads=num_threads)

    def save(self, path: Path, *, overwrite: bool = True) -> None:
        """An .npz, or a .safetensors by that ending, as the program writes it."""
        write_arrays(path, self._arrays(), overwrite)

    def _arrays(self):
        arrays = _tensor_arrays(self._tensor, "")
        if self._layout != "linear":
            arrays["scales_swizzled"] = _nvfp4.to_layout(self._tensor.scales, *self._tensor.scales.shape, self._layout)
        if self._columns is not None:
            arrays.update(_tensor_arrays(self._columns._tensor, "col_"))
        arrays["manifest"] = np.frombuffer(self.manifest_json.encode(), np.uint8)
        return arrays

    def __eq__(self, other):
        if not isinstance(other, QuantizedTensor):
            return NotImplemented
        mine, theirs = self._arrays(), other._arrays()
        return mine.keys() == theirs.keys() and all(
            a.shape == theirs[name].shape and a.tobytes() == theirs[name].tobytes() for name, a in mine.items())

    __hash__ = None

    def __reduce__(self):
        arrays = {name: np.array(a) for name, a in self._arrays().items() if name != "scales_swizzled"}
        return _restored, (arrays, self._place)

    def __deepcopy__(self, memo):
        return _restored({name: a.copy() for name, a in self._arrays().items()}, self._place)

    def __repr__(self):
        rows, cols = self.shape
        spec = self._tensor.spec
        rounding = "SR" if spec.stochastic is not None else "RNE"
        parts = [f"{rows} x {cols}", self.dialect, f"block {self.block}", rounding, self._global_text(),
                 f"from {self.dtype}"]
        parts += [f"layout {self._layout}"] * (self._layout != "linear")
        parts += ["with columns"] * (self._columns is not None)
        parts += [f"{key} {value}" for key, value in self._options.items()]
        parts += [f"on {self._place.device}"] if self._place.kind == "torch" else []
        return f"QuantizedTensor({', '.join(parts)})"

    def _global_text(self):
        values, record = self._tensor.global_scale, dialect_records()[self.dialect]
        if values is None:
            return "no global scale"
        if values.size > 1:
            return f"{values.size} global scales"
        kind = {"amax": f"amax / {self._tensor.spec.global_divisor}", "multiply": "multiplies", "divide": "divides"}
        return f"global {values[0]:.6g} ({kind[record['global_is']]})"


def _tensor_arrays(tensor, prefix):
    arrays = {prefix + "packed": tensor.packed, prefix + "scales": tensor.scales}
    if (values := tensor.global_scale) is not None:
        arrays[prefix + "global"] = values
    return arrays


def _tensor_from(read, has, prefix, spec, dtype, rows, cols):
    values = float_array(read(prefix + "global"), "global") if has(prefix + "global") else None
    packed, scales = byte_array(read(prefix + "packed"), "packed"), byte_array(read(prefix + "scales"), "scales")
    return _nvfp4.Tensor(spec, dtype, rows, cols, packed, scales, values)


def _tensors_of(manifest, read, has):
    """A QuantizedTensor of arrays named as in the files. Throws as spec_of() does, or ValueError for sizes."""
    spec, options = spec_of(manifest), caller_options(manifest)
    dtype, (rows, cols), seed = manifest["options"]["dtype"], manifest["shape"], manifest["provenance"]["seed"]
    common = {"options": options, "seed": seed, "input_sha256": manifest["provenance"].get("input_sha256", "")}
    q = QuantizedTensor(_tensor_from(read, has, "", spec, dtype, rows, cols), layout=manifest["layout"], **common)
    if has("col_packed"):
        q._columns = QuantizedTensor(_tensor_from(read, has, "col_", spec, dtype, cols, rows), **common)
    return q


def _restored(arrays, place):
    manifest = parse_manifest(arrays["manifest"].tobytes(), "pickle")
    q = _tensors_of(manifest, arrays.__getitem__, arrays.__contains__)
    return _placed(q, place)


def _placed(q, place):
    q._place = place
    if q._columns is not None:
        q._columns._place = place
    return q


def load(path: Path) -> QuantizedTensor:
    """A QuantizedTensor of an .npz or .safetensors that the program or `save` wrote. Throws FileError."""
    with open_arrays(path) as file:
        return read_quantized(file, parse_manifest(file.read("manifest").tobytes(), file.file))


def read_quantized(file, manifest):
    """Of the arrays of an open file."""
    try:
        q = _tensors_of(manifest, file.read, file.__contains__)
    except FileError:
        raise
    except (KeyError, TypeError, AttributeError) as error:
        found = f"none or another type: {one_line(error)}"
        raise FileError(file.file, "manifest", "every field of a manifest", found) from None
    except ValueError as error:
        raise FileError(file.file, "arrays and manifest", "what goes together", one_line(error)) from None
    _require_swizzled(file, q)
    return q


def _require_swizzled(file, q):
    if ("scales_swizzled" in file) != (q.layout != "linear"):
        raise FileError(file.file, "array 'scales_swizzled'",
                        f"it where the manifest's layout, {q.layout}, is not linear", "another")
    if q.layout != "linear" and file.read("scales_swizzled").tobytes() != q.scales_swizzled.tobytes():
        raise FileError(file.file, "array 'scales_swizzled'", f"the bytes of array 'scales' in layout {q.layout}",
                        "others")


_QUANTIZE_DEFAULTS = {"dialect": "te", "block": None, "tensor_scale": None, "rounding": "rne", "rht": 0,
                      "rht_signs": "te", "amax": None, "columns": False, "e4m3_max": 448, "select": "mae",
                      "error_fast": False, "random_map": "hw", "sr_rule": None}


def _stochastic(rounding, random_map, sr_rule, seed):
    if rounding not in ("rne", "sr"):
        raise ValueError(f"rounding '{rounding}': expected one of rne, sr")
    rule = sr_rule or ("te_software" if random_map == "te" else "carry")
    made = _nvfp4.Stochastic(rule=rule, map=random_map, seed=seed)
    return made if rounding == "sr" else None


def profile_of(producer=None, seed=0, **options):
    """What fixes the bytes beside the input: a producer's own options, or those given of quantize()."""
    o = {**_QUANTIZE_DEFAULTS, **options}
    if producer is not None:
        given = [name for name, value in _QUANTIZE_DEFAULTS.items() if o[name] != value]
        if given:
            raise ValueError(f"producer '{producer}' has options of its own: expected none beside it, found "
                             + ", ".join(given))
        return _nvfp4.Profile.of_producer(producer)
    spec = _nvfp4.Spec(o["dialect"], block=o["block"], tensor_scale=o["tensor_scale"], amax=o["amax"],
                       e4m3_max=o["e4m3_max"], select=o["select"], error_fast=o["error_fast"],
                       stochastic=_stochastic(o["rounding"], o["random_map"], o["sr_rule"], seed))
    return _nvfp4.Profile(spec, columns=o["columns"], rht=o["rht"], rht_signs=o["rht_signs"], seed=seed)


def _manifest_options(producer, profile, transpose):
    options = {"transpose": True} if transpose else {}
    if producer is not None:
        options["producer"] = producer
    elif profile.rht:
        options.update(rht=profile.rht, rht_signs=profile.rht_signs)
    return options


def _words(random_words):
    if random_words is None:
        return None
    words = random_words.detach().cpu().numpy() if hasattr(random_words, "detach") else np.asarray(random_words)
    if words.dtype.itemsize != 4 or words.dtype.kind not in "ui":
        raise ValueError(f"random_words: expected uint32, found {words.dtype}")
    return np.require(words.view(np.uint32), requirements=["C", "A"])


def quantize(x: Array, dialect: str = "te", *, producer: str | None = None, block: str | None = None,
             tensor_scale: str | None = None, rounding: str = "rne", rht: int = 0, rht_signs: str = "te", seed: int = 0,
             amax: float | None = None, layout: str = "linear", columns: bool = False, e4m3_max: int = 448,
             select: str = "mae", error_fast: bool = False, random_words: Array | None = None, random_map: str = "hw",
             sr_rule: str | None = None, transpose: bool = False, dtype: Dtype | None = None, hash_input: bool = False,
             device: str | None = None, num_threads: int | None = None) -> QuantizedTensor:
    """x, float32, float16 or bfloat16 of two dimensions or more, as a QuantizedTensor; `nvfp4 quantize` of the same
    options gives the same bytes. Order: transpose, then the Hadamard transform along the rows, then the amax.

    producer      a producer's dialect and options, in place of all of them
    block         "1x16", "16x16" or "1x32"; tensor_scale "tensor" or "row"; None: the dialect's own
    rounding      "rne", or "sr": stochastic, by random_words (uint32, one for 4 elements) or drawn from seed
    amax          replaces the input's own tensor amax
    columns       quantizes the transpose, too; with rht that alone is transformed
    dtype         "bf16": uint16 elements are BF16 bits
    hash_input    puts the SHA-256 of x as numpy.save writes it into the manifest, as the program does of its input file
    """
    m = matrix(x, dtype)
    profile = profile_of(producer, seed, dialect=dialect, block=block, tensor_scale=tensor_scale, rounding=rounding,
                         rht=rht, rht_signs=rht_signs, amax=amax, columns=columns, e4m3_max=e4m3_max, select=select,
                         error_fast=error_fast, random_map=random_map, sr_rule=sr_rule)
    _nvfp4.layout_named(layout)
    rows, transposed = _nvfp4.quantize(m.array, m.dtype, profile, transpose, _words(random_words),
                                       device_for(m.place, device), thread_count(num_threads))
    drawn = rows.spec.stochastic is not None and random_words is None
    common = {"options": _manifest_options(producer, profile, transpose), "place": m.place,
              "seed": seed if drawn else profile.seed,
              "input_sha256": hashlib.sha256(npy_bytes(m.array.reshape(m.shape))).hexdigest() if hash_input else ""}
    q = QuantizedTensor(rows, layout=layout, **common)
    if transposed is not None:
        q._columns = QuantizedTensor(transposed, **copy.deepcopy(common))
    return q


def dequantize(q: QuantizedTensor, dtype: Dtype = "float32", *, device: str | None = None,
               num_threads: int | None = None) -> Array:
    """Values by the dialect's own rule, in float32, float16 or bf16 (without ml_dtypes, NumPy's are uint16 bits)."""
    if not isinstance(q, QuantizedTensor):
        raise ValueError(f"dequantize: expected a QuantizedTensor, found {type(q).__name__}")
    name = dtype_name(dtype)
    values = _nvfp4.dequantize(q._tensor, name, device_for(q._place, device), thread_count(num_threads))
    return q._place.put_values(values, name)
