#!/usr/bin/env python3
"""torchao's NVFP4 quantizer on a GPU beside a device copy, in one run: what validation/gpu_bench.cu measures of ours.

    python3 validation/gpu_peers.py [SIZE]

BF16, SIZE x SIZE (16384). A copy's bytes are read and written; a quantizer's the input twice (its amax pass is in the
time) and the output, as there. Medians of 15 runs by events.
"""
import statistics, sys

import torch
from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale

SIZE = int(sys.argv[1]) if len(sys.argv) > 1 else 16384
REPETITIONS = 15


def seconds(work):
    for _ in range(3):
        work()
    times = []
    for _ in range(REPETITIONS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e-3)
    return statistics.median(times)


def quantize(x, triton):
    scale = per_tensor_amax_to_scale(x.abs().amax())
    q = NVFP4Tensor.to_nvfp4(x, per_tensor_scale=scale, is_swizzled_scales=triton, use_triton_kernel=triton)
    return q.qdata, q.scale


x = torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16)
target = torch.empty_like(x)
copy = 2 * x.nbytes / seconds(lambda: target.copy_(x))
moved = 2 * x.nbytes + x.nelement() * (1 / 2 + 1 / 16)
print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
print(f"device copy          {copy * 1e-9:7.0f} GB/s")
for name, work in (
    ("torchao eager", lambda: quantize(x, False)),
    ("torchao compiled", lambda run=torch.compile(lambda: quantize(x, False)): run()),
    ("torchao triton", lambda: quantize(x, True)),
):
    try:
        rate = moved / seconds(work)
        print(f"{name:20} {rate * 1e-9:7.0f} GB/s, {rate / copy:.3f} of the copy")
    except Exception as error:  # a peer's own failure is not ours
        print(f"not run: {name}: {str(error).splitlines()[0]}")
