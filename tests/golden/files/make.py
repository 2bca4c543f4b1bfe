"""Writes the files beside it with NumPy, the safetensors package and gguf (0.19.0). README.md says what they hold."""

import pathlib

import gguf
import ml_dtypes
import numpy as np
from numpy.lib import format as npy_format
from safetensors.numpy import save_file

here = pathlib.Path(__file__).parent
types = ["f2", "f4", "f8", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "c8", "?"]


def ramp(shape, dtype="<f4"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save(name, array, version=None):
    with open(here / name, "wb") as out:
        npy_format.write_array(out, array, version)


for t in types:
    save(f"type_{'b1' if t == '?' else t}.npy", ramp((3, 5), np.dtype(t).newbyteorder("<")))
save("fortran.npy", np.asfortranarray(ramp((3, 5))))
save("fortran_rank3.npy", np.asfortranarray(ramp((2, 3, 4), "<f2")))
save("version_2.npy", ramp((3, 5)), (2, 0))
save("version_3.npy", ramp((3, 5)), (3, 0))
save("rank_0.npy", np.array(0, "<f4"))
save("rank_1.npy", ramp((7,)))
save("rank_4.npy", ramp((2, 1, 3, 4)))
save("no_rows.npy", ramp((0, 4)))
save("no_columns.npy", ramp((4, 0)))
save("big_endian.npy", ramp((3, 5), ">f4"))
save("structured.npy", np.zeros(3, [("a", "<f4"), ("b", "<i4")]))
save("void.npy", ramp((3, 5)).astype(ml_dtypes.float8_e4m3fn))
save("objects.npy", np.array([None, 1], dtype=object))

members = {"a": ramp((3, 5)), "deep/b": ramp((64, 64), "<u2"), "c": ramp((2, 2), "<f2")}
np.savez(here / "stored.npz", **members)
np.savez_compressed(here / "deflated.npz", **members)

golden = {}
for case, rows, cols in [("ties", 4, 32), ("ragged/3x20", 3, 20)]:
    blocks = -(-cols // 16)
    golden[f"{case}/input"] = ramp((rows, cols), ml_dtypes.bfloat16).view("<u2")
    golden[f"{case}/packed"] = ramp((rows, 8 * blocks), "u1")
    golden[f"{case}/scales"] = ramp((rows, blocks), "u1")
    golden[f"{case}/global"] = ramp((1,)) + np.float32(1)
golden["manifest"] = np.frombuffer(b"{}", "u1")
np.savez_compressed(here / "golden_form.npz", **golden)

save_file(
    {
        "float": ramp((3, 5)),
        "half": ramp((2, 2), "<f2"),
        "brain": ramp((2, 3), ml_dtypes.bfloat16),
        "codes": ramp((7,), "u1"),
        "scales": ramp((3, 1), "u1").view(ml_dtypes.float8_e4m3fn),
        "empty": ramp((0, 4)),
        "scalar": np.array(0, "<i4"),
    },
    here / "package.safetensors",
    {"made by": "safetensors", "ключ": "значение"},
)

# GGUF: decoded values beside it, by gguf.quants.
rng = np.random.default_rng(7)
weights = (rng.standard_normal((3, 64)) * np.float32(0.1)).astype(np.float32)
weights[0, :32] = 0
half = weights.astype(np.float16)
half[2, :4] = np.array([0x0001, 0x83FF, 0x7C00, 0x7BFF], "<u2").view(np.float16)  # subnormals, Inf, the largest


def gguf_file(name, alignment):
    writer = gguf.GGUFWriter(here / name, "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    writer.add_name("a name, имя")
    for bits in (8, 16, 32, 64):
        getattr(writer, f"add_uint{bits}")(f"unsigned.{bits}", 2**bits - 1)
        getattr(writer, f"add_int{bits}")(f"signed.{bits}", -(2 ** (bits - 1)))
    writer.add_float32("real.32", 0.1)
    writer.add_float64("real.64", 0.1)
    writer.add_bool("yes", True)
    writer.add_array("tokens", ["<s>", "", "слово"])
    writer.add_array("scores", [0.5, -1.5])
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    return writer


types = gguf.GGMLQuantizationType
writer = gguf_file("package.gguf", None)
decoded = {}
writer.add_tensor("f32", weights)
writer.add_tensor("f16", half)
for t in (types.BF16, types.Q8_0, types.Q4_0, types.Q4_1):
    stored = gguf.quants.quantize(weights, t)
    writer.add_tensor(t.name.lower(), stored, raw_dtype=t)
    decoded[t.name.lower()] = gguf.quants.dequantize(stored, t)
decoded["f16"] = gguf.quants.dequantize(half, types.F16)
decoded["f32"] = weights
experts = rng.integers(0, 256, (2, 3, 2 * 34), dtype=np.uint8)
experts.reshape(-1, 34)[:, 1] &= 0xBF  # scales below 2: all finite
writer.add_tensor("experts", experts, raw_dtype=types.Q8_0)
decoded["experts"] = gguf.quants.dequantize(experts, types.Q8_0).reshape(6, 64)
for t, size in ((types.NVFP4, 36), (types.MXFP4, 34)):
    writer.add_tensor(t.name.lower(), rng.integers(0, 256, (2, size), dtype=np.uint8), raw_dtype=t)
writer.add_tensor("norm", np.arange(5, dtype=np.float32))
for t in ("i1", "i2", "i4", "i8", "f8"):
    writer.add_tensor(f"{t[0]}{8 * int(t[1])}", ramp((3,), f"<{t}"))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
np.savez_compressed(here / "package_gguf_values.npz", **decoded)

writer = gguf_file("aligned_64.gguf", 64)
writer.add_tensor("a", ramp((3,), "i1"))
writer.add_tensor("b", ramp((2, 3)))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
