"""CUDA tensors: the bytes of the CPU's, on the device that they came from."""

import io

import numpy as np
import pytest

import nvfp4
from conftest import wide

torch = pytest.importorskip("torch", reason="not run: no torch")
nt = pytest.importorskip("nvfp4.torch")

if not torch.cuda.is_available():
    pytest.skip("not run: no CUDA device", allow_module_level=True)
if "gpu" not in nvfp4.devices():
    pytest.skip("not run: a build without the GPU layer", allow_module_level=True)


def same(found, expected):
    assert found.is_cuda and found.dtype == expected.dtype and found.shape == expected.shape
    return found.cpu().contiguous().view(torch.uint8).equal(expected.contiguous().view(torch.uint8))


def views(x):
    """The same matrix as it may lie in memory."""
    x = x.cuda()
    yield x
    yield x.t().contiguous().t()
    yield torch.cat([x, x], 1)[:, :x.shape[1]]
    yield x.requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_functions(dtype):
    x, y = (torch.from_numpy(wide(48, 64, seed)).clamp(-6e4, 6e4).to(dtype) for seed in (0, 1))
    a, b = nvfp4.quantize(x, columns=True), nvfp4.quantize(y)
    d = nvfp4.gemm(a, b)
    for view in views(x):
        q = nvfp4.quantize(view, columns=True)
        assert same(q.packed, a.packed) and same(q.scales, a.scales) and same(q.global_scale, a.global_scale)
        assert same(q.columns.packed, a.columns.packed) and same(q.scales_as("128x4"), a.scales_as("128x4"))
        assert same(q.dequantize(), a.dequantize()) and same(nvfp4.gemm(q, nvfp4.quantize(y.cuda())), d)
        assert same(nvfp4.hadamard(view), nvfp4.hadamard(x)) and nvfp4.amax(view) == nvfp4.amax(x)


def test_work_of_another_stream_is_awaited():
    x = torch.from_numpy(wide(64, 64))
    on_device, stream = torch.zeros(64, 64, device="cuda"), torch.cuda.Stream()
    big = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for _ in range(20):
            big = big @ big / 64
        on_device.copy_(x)
        q = nvfp4.quantize(on_device)
    assert same(q.packed, nvfp4.quantize(x).packed)


@pytest.mark.parametrize("recipe", ["nvidia", "averis", "chon", "mxfp4", "bf16", "tetrajet_v2", "quartet2"])
def test_a_layer(recipe):
    x, dy = torch.from_numpy(wide(64, 64)), torch.from_numpy(wide(64, 48, 1))
    made = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        layer = nt.Linear(64, 48, recipe=recipe, seed=5).to(device)
        layer.advance()
        place = x.detach().to(device).requires_grad_()
        y = layer(place)
        y.backward(dy.to(device))
        made.append((y.detach(), place.grad, layer.weight.grad, layer.kept))
    for found, expected in zip(made[1], made[0]):
        assert same(found, expected)


@pytest.mark.parametrize("weights_only", [False, True])
def test_emulation(weights_only):
    x = torch.from_numpy(wide(16, 64))
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 48)
    y = nt.emulate(torch.nn.Sequential(layer), weights_only=weights_only)(x)
    assert same(nt.emulate(torch.nn.Sequential(layer.cuda()), weights_only=weights_only)(x.cuda()), y)


def test_a_resumed_osci_reset():
    def layer(device):
        torch.manual_seed(0)
        watch = nvfp4.OsciReset(period=4, track=2, threshold=0.01)
        return nt.Linear(64, 32, recipe="tetrajet_v2", osci_reset=watch).to(device)

    def step(m):
        with torch.no_grad():
            angles = torch.arange(m.weight.numel()).view(m.weight.shape) * (m.step + 1.0)
            m.weight.add_(torch.sin(angles).to(m.weight.device) / 64)
        m.advance()

    whole, first = layer("cpu"), layer("cuda")
    for _ in range(8):
        step(whole)
    for _ in range(2):
        step(first)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = layer("cuda")
    second.load_state_dict(torch.load(file, map_location="cuda"))
    assert len(second.osci_state) == 5
    for _ in range(6):
        step(second)
    assert same(second.weight.detach(), whole.weight.detach())


def test_compiled():
    layer = nt.Linear(64, 32, recipe="nvidia").cuda()
    x = torch.from_numpy(wide(32, 64)).cuda()
    assert torch.equal(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="not run: one CUDA device")
def test_results_lie_on_the_tensors_own_device():
    x = torch.from_numpy(wide(16, 64)).to("cuda:1")
    assert nvfp4.quantize(x).packed.device == nvfp4.hadamard(x).device == x.device
    assert np.array_equal(nvfp4.quantize(x).packed.cpu().numpy(), nvfp4.quantize(x.cpu()).packed.numpy())
