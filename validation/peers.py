#!/usr/bin/env python3
"""torchao and ml_dtypes beside `nvfp4 bench quantize`, in one run on one tensor: rates in GB/s of input read.

    ./quickstart --with-data
    ${XDG_CACHE_HOME:-~/.cache}/nvfp4/venv/bin/python validation/peers.py [THREADS]

Each peer's time includes its tensor amax, as ours does; ml_dtypes only casts elements. Medians. A peer that is not
installed is printed as "not run".
"""
import json, statistics, subprocess, sys, time
from pathlib import Path

import numpy as np

ROWS = COLS = 4096
REPETITIONS = 7
PROGRAM = Path(__file__).resolve().parent.parent / "build" / "nvfp4"


def rate(work, read_bytes):
    work()  # compilation and first-touch are not timed
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return read_bytes * 1e-9 / statistics.median(times)


def ours(threads):
    command = [PROGRAM, "bench", "quantize", "--rows", str(ROWS), "--cols", str(COLS), "--threads", str(threads), "--json"]
    results = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["results"]
    return {r["name"]: r["rate"] for r in results if r["threads"] == threads and r["name"].startswith("quantize")}


def torchao_rates(x, threads):
    import torch
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale

    torch.set_num_threads(threads)

    def quantize(t):
        return NVFP4Tensor.to_nvfp4(t, per_tensor_scale=per_tensor_amax_to_scale(t.abs().amax()))

    def parts(t):
        q = quantize(t)
        return q.qdata, q.scale

    compiled = torch.compile(parts)
    for dtype in (torch.float32, torch.bfloat16):
        t = torch.from_numpy(x).to(dtype)
        name = "fp32" if dtype == torch.float32 else "bf16"
        for how, run in (("eager", quantize), ("compiled", compiled)):
            try:
                yield f"{name} torchao {how}", rate(lambda: run(t), t.nbytes)
            except Exception as error:  # a peer's own failure is not ours
                print(f"not run: {name} torchao {how}: {str(error).splitlines()[0]}")


def ml_dtypes_rates(x):
    import ml_dtypes

    for dtype in ("float8_e4m3fn", "float4_e2m1fn"):
        yield f"fp32 ml_dtypes cast {dtype}", rate(lambda: x.astype(getattr(ml_dtypes, dtype)), x.nbytes)


def main():
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    x = np.random.default_rng(0).standard_normal((ROWS, COLS)).astype(np.float32)
    mine = ours(threads)
    for name, value in mine.items():
        print(f"{name:34} {value:8.3f} GB/s")
    for peers in (lambda: torchao_rates(x, threads), lambda: ml_dtypes_rates(x)):
        try:
            for name, value in peers():
                best = max(r for n, r in mine.items() if f"/{name.split()[0]}/" in n)
                print(f"{name:34} {value:8.3f} GB/s   ours is {best / value:6.1f} times that")
        except ImportError as error:
            print(f"not run: {error}")


if __name__ == "__main__":
    main()
