"""NumPy arrays and torch tensors as the library takes them, and its results in the caller's kind and place."""

import sys
from dataclasses import dataclass

import numpy as np

from . import _nvfp4

_DTYPES = {
    "fp32": "fp32", "float32": "fp32", "f4": "fp32",
    "bf16": "bf16", "bfloat16": "bf16",
    "fp16": "fp16", "float16": "fp16", "half": "fp16",
}


def dtype_name(dtype):
    """"fp32", "bf16" or "fp16" of a name, a NumPy dtype or a torch dtype."""
    text = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", None) or str(dtype)
    name = _DTYPES.get(text.removeprefix("torch."))
    if name is None:
        raise ValueError(f"dtype '{text}': expected one of float32, bf16, float16")
    return name


def _torch_of(x):
    """torch where x is one of its tensors: who has none of them need not have torch."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else None


def _ml_dtypes():
    try:
        import ml_dtypes
    except ImportError:
        return None
    return ml_dtypes


@dataclass(frozen=True)
class Place:
    """Whose array it was and where it lay, so that results can be the same."""

    kind: str = "numpy"
    device: str = "cpu"

    @staticmethod
    def of(x):
        return Place("torch", str(x.device)) if _torch_of(x) else Place()

    @property
    def is_cuda(self):
        return self.device.startswith("cuda")

    def put(self, array):
        """A NumPy array in this place; on a CPU it shares the array's memory."""
        if array is None or self.kind == "numpy":
            return array
        import torch

        return torch.from_numpy(array).to(self.device)

    def put_values(self, array, dtype):
        """The same of a result of `dtype`, whose 16-bit elements are still bits."""
        if self.kind == "torch":
            import torch

            types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
            bits = array if dtype == "fp32" else array.view(np.int16)
            return torch.from_numpy(bits).view(types[dtype]).to(self.device)
        if dtype == "fp16":
            return array.view(np.float16)
        if dtype == "bf16" and (ml_dtypes := _ml_dtypes()):
            return array.view(ml_dtypes.bfloat16)
        return array


@dataclass(frozen=True)
class Matrix:
    """A matrix in host memory, row-major; BF16 is uint16 bits. `shape` is the argument's own."""

    array: np.ndarray
    dtype: str
    place: Place
    shape: tuple


def _torch_elements(x, torch, name):
    types = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    if x.dtype not in types and x.dtype != torch.uint16:
        raise ValueError(f"{name}: expected float32, float16 or bfloat16, found {x.dtype}")
    x = x.detach().cpu()
    if x.dtype in (torch.float32, torch.float16):
        return x.numpy(), types[x.dtype]
    return x.contiguous().view(torch.int16).numpy().view(np.uint16), types.get(x.dtype)


def _numpy_elements(x, name):
    x = x if isinstance(x, np.ndarray) else np.asarray(x)
    if x.dtype == np.float32:
        return x, "fp32"
    if x.dtype == np.float16:
        return x, "fp16"
    if x.dtype.name == "bfloat16":
        return x.view(np.uint16), "bf16"
    if x.dtype == np.uint16:
        return x, None
    hint = " (x.astype(numpy.float32) rounds it)" if x.dtype == np.float64 else ""
    raise ValueError(f"{name}: expected float32, float16, bfloat16, or uint16 with dtype='bf16', found {x.dtype}{hint}")


def matrix(x, dtype=None, name="x"):
    """x as a Matrix: not copied where it lies row-major in host memory. Leading dimensions are flattened."""
    torch = _torch_of(x)
    array, own = _torch_elements(x, torch, name) if torch else _numpy_elements(x, name)
    given = dtype_name(dtype) if dtype is not None else None
    if own is None and given != "bf16":
        raise ValueError(f"{name}: uint16 elements are BF16 bits with dtype='bf16' alone")
    if own is not None and given not in (None, own):
        raise ValueError(f"{name}: expected elements of dtype '{given}', found {own}")
    if array.ndim < 2:
        raise ValueError(f"{name}: expected two dimensions or more, found shape {tuple(array.shape)}")
    rows = np.require(array.reshape(-1, array.shape[-1]), requirements=["C", "A"])
    return Matrix(rows, own or "bf16", Place.of(x), array.shape)


def byte_array(x, name):
    """An array of codes or scales as row-major uint8; float8 and float4 types of one byte an element count as bytes."""
    torch = _torch_of(x)
    if torch:
        x = x.detach().cpu()
        x = (x if x.dtype == torch.uint8 else x.view(torch.uint8)).numpy()
    x = np.asarray(x)
    if x.dtype.itemsize != 1:
        raise ValueError(f"{name}: expected elements of one byte, found {x.dtype}")
    return np.require(x.view(np.uint8), requirements=["C", "A"])


def float_array(x, name):
    """Second-level scales as float32, flat where they are a single one."""
    if _torch_of(x):
        x = x.detach().cpu().numpy()
    x = np.asarray(x)
    if x.dtype != np.float32 and not np.isscalar(x) and x.ndim:
        raise ValueError(f"{name}: expected float32, found {x.dtype}")
    return np.require(np.atleast_1d(x).astype(np.float32, copy=False), requirements=["C", "A"])


def device_for(place, device):
    """The layer that computes: the GPU's for CUDA tensors, unless another is named."""
    if device is not None:
        return device
    if not place.is_cuda:
        return "cpu"
    if "gpu" not in _nvfp4.devices():
        raise ValueError(f"a tensor on {place.device} needs the GPU layer, which this build or machine lacks: "
                         "expected device='cpu', or a build with NVFP4_GPU=ON")
    return "gpu"


def thread_count(num_threads):
    """0 where the default holds."""
    if num_threads is None:
        return 0
    if num_threads < 1:
        raise ValueError(f"num_threads: expected 1 or more, found {num_threads}")
    return int(num_threads)
