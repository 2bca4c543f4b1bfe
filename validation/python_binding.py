#!/usr/bin/env python3
"""What the Python binding costs, and torchao's eager quantizer beside ours, in one process on one tensor.

    ./quickstart --with-data
    python=${XDG_CACHE_HOME:-~/.cache}/nvfp4/venv/bin/python
    $python -m pip install --target /a/folder build/python/dist/nvfp4-*.whl   # of ./check
    OMP_WAIT_POLICY=passive PYTHONPATH=/a/folder $python validation/python_binding.py [THREADS]

The binding's cost is what a call takes whose tensor is one block, and everything that such a call computes counts as
cost: no copy is made that grows with the tensor. It is held against a call of ROWS x COLS. Medians, interleaved.
"""
import statistics, sys, time

import numpy as np

import nvfp4

ROWS = COLS = 4096
REPETITIONS, SMALL_CALLS = 15, 200


def seconds(work, calls=1):
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def medians(**work):
    times = {name: [] for name in work}
    for _ in range(REPETITIONS):
        for name, (run, calls) in work.items():
            times[name].append(seconds(run, calls))
    return {name: statistics.median(t) for name, t in times.items()}


def binding(x, dtype):
    small, large = x[:1, :16], x
    t = medians(small=(lambda: nvfp4.quantize(small), SMALL_CALLS), large=(lambda: nvfp4.quantize(large), 1))
    print(f"{dtype}: a call of one block {t['small'] * 1e6:.1f} us, of {ROWS} x {COLS} {t['large'] * 1e3:.2f} ms: "
          f"{100 * t['small'] / t['large']:.2f} %")


def beside_torchao(x, dtype):
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale

    t = medians(ours=(lambda: nvfp4.quantize(x), 1),
                torchao=(lambda: NVFP4Tensor.to_nvfp4(x, per_tensor_scale=per_tensor_amax_to_scale(x.abs().amax())), 1))
    print(f"{dtype}: torchao eager {t['torchao'] * 1e3:.1f} ms, {t['torchao'] / t['ours']:.1f} times ours")


def main():
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    nvfp4.set_num_threads(threads)
    x = np.random.default_rng(0).standard_normal((ROWS, COLS)).astype(np.float32)
    print(f"{threads} thread{'s' if threads > 1 else ''}")
    binding(x, "fp32")
    try:
        import torch
        import torchao
    except ImportError as error:
        print(f"not run: torchao: {error}")
        return
    torch.set_num_threads(threads)
    for dtype, name in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
        beside_torchao(torch.from_numpy(x).to(dtype), name)


if __name__ == "__main__":
    main()
