"""Writes the files beside it with NumPy and the safetensors package. README.md says what they hold."""

import pathlib

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
