import pickle

import numpy as np
import pytest

import nvfp4
from conftest import wide

torch = pytest.importorskip("torch")


@pytest.fixture
def x():
    return torch.from_numpy(wide(32, 64))


def test_torch_in_torch_out(x):
    q = nvfp4.quantize(x)
    assert q == nvfp4.quantize(x.numpy())
    for array in (q.packed, q.scales, q.global_scale, q.scales_swizzled, q.unpacked(), q.dequantize(), nvfp4.gemm(q, q),
                  nvfp4.hadamard(x)):
        assert isinstance(array, torch.Tensor) and array.device == x.device
    assert q.packed.data_ptr() == q._tensor.packed.ctypes.data
    assert "on cpu" in repr(q) and pickle.loads(pickle.dumps(q)).packed.dtype == torch.uint8


@pytest.mark.parametrize("dtype, name", [(torch.bfloat16, "bf16"), (torch.float16, "fp16")])
def test_sixteen_bit_types(x, dtype, name):
    x = x.to(dtype)
    q = nvfp4.quantize(x)
    assert q.dtype == name
    assert q == nvfp4.quantize(x.view(torch.int16).numpy().view(np.uint16 if name == "bf16" else np.float16),
                               dtype="bf16" if name == "bf16" else None)
    assert nvfp4.quantize(x[::2], hash_input=True).manifest["provenance"]["input_sha256"]
    for out in (q.dequantize(dtype), nvfp4.dequantize(q, name), nvfp4.gemm(q, q, out_dtype=dtype), nvfp4.hadamard(x)):
        assert out.dtype == dtype


def test_inputs_are_not_copied(x):
    from nvfp4.arrays import matrix

    assert matrix(x).array.ctypes.data == x.data_ptr()
    b = x.bfloat16()
    assert matrix(b).array.ctypes.data == b.data_ptr()


def test_strided_and_differentiable_inputs(x):
    assert nvfp4.quantize(x.T.contiguous().T) == nvfp4.quantize(x)
    assert nvfp4.quantize(x.clone().requires_grad_()) == nvfp4.quantize(x)
    assert nvfp4.quantize(x.bfloat16().T.contiguous().T) == nvfp4.quantize(x.bfloat16())


def test_torchs_own_float4_and_float8(x):
    q = nvfp4.quantize(x)
    packed, scales = q.to_torch()
    assert (packed.dtype, scales.dtype) == (torch.float4_e2m1fn_x2, torch.float8_e4m3fn)
    assert scales.data_ptr() == q.scales.data_ptr()
    assert nvfp4.QuantizedTensor.from_arrays(packed, scales, q.global_scale) == q
    assert nvfp4.quantize(x.numpy(), "mxfp8_floor").to_torch()[1].dtype == torch.float8_e8m0fnu


def test_linear(x):
    w, dy = x[:16].clone(), x[:, :16].contiguous()
    made, expected = nvfp4.linear(x, w, dy), nvfp4.linear(x.numpy(), w.numpy(), dy.numpy())
    for m, e in zip(made, expected):
        assert isinstance(m, torch.Tensor) and m.dtype == torch.float32 and m.numpy().tobytes() == e.tobytes()


def test_other_types_are_refused(x):
    with pytest.raises(ValueError, match="x: expected float32, float16 or bfloat16, found torch.float64"):
        nvfp4.quantize(x.double())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="not run: no CUDA device")
def test_cuda_tensors_stay_there(x):
    x = x.cuda()
    if "gpu" not in nvfp4.devices():
        with pytest.raises(ValueError, match="needs the GPU layer"):
            nvfp4.quantize(x)
    device = None if "gpu" in nvfp4.devices() else "cpu"
    q = nvfp4.quantize(x, device=device)
    assert q == nvfp4.quantize(x.cpu())
    for array in (q.packed, q.scales, q.dequantize(device=device), nvfp4.gemm(q, q, device=device)):
        assert array.device == x.device
