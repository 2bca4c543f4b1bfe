"""Products: of two quantized tensors, of a linear layer by a recipe, and the Hadamard transform."""

from typing import Any, NamedTuple

import numpy as np

from . import _nvfp4
from .arrays import device_for, dtype_name, float_array, matrix, thread_count
from .kinds import Array, Dtype, RecipeLike, State
from .quantized import QuantizedTensor
from .recipe import recipe_of


def gemm(a: QuantizedTensor, b: QuantizedTensor, accumulate: str | None = None, alpha: float | None = None,
         use_globals: bool = True, out_dtype: Dtype = "float32", *, bias: Array | None = None, c: Array | None = None,
         beta: float = 1.0, split_k: int = 1, device: str | None = None, num_threads: int | None = None) -> Array:
    """D (M x N) = alpha * A * transpose(B) of QuantizedTensors A (M x K) and B (N x K), summed over k as a tensor core
    does: `accumulate` is one of accumulations(), by default sm100_nvfp4 (under E8M0 scales sm100_mxfp4 or, of FP8
    elements, sm100_mxf8f6f4). alpha replaces the dialects' own; use_globals=False leaves the tensor scales out. Then
    `bias`, a float32 number a column, and beta * c are added."""
    for name, q in (("a", a), ("b", b)):
        if not isinstance(q, QuantizedTensor):
            raise ValueError(f"gemm: expected a QuantizedTensor as {name}, found {type(q).__name__}")
    addend = matrix(c, name="c") if c is not None else None
    name = dtype_name(out_dtype)
    d = _nvfp4.gemm(a._tensor, b._tensor, accumulate=accumulate, alpha=alpha, use_globals=use_globals, split_k=split_k,
                    bias=float_array(bias, "bias") if bias is not None else None,
                    c=addend.array if addend else None, c_dtype=addend.dtype if addend else "fp32", beta=beta,
                    out_dtype=name, device=device_for(a._place, device), num_threads=thread_count(num_threads))
    return a._place.put_values(d, name)


def hadamard(x: Array, size: int = 16, signs: str | int | None = "te", *, seed: int = 0, along: str = "row",
             sum: str = "fma_chain", rounded: bool = True, dtype: Dtype | None = None, device: str | None = None,
             num_threads: int | None = None) -> Array:
    """The Hadamard transform of groups of `size` columns (along="tokens": rows), in x's element type, or in float32
    with rounded=False. signs: "te", "none" (or None), or "seed" and an integer that draws them (or that integer)."""
    if signs is None:
        signs = "none"
    elif isinstance(signs, (int, np.integer)):
        signs, seed = "seed", int(signs)
    m = matrix(x, dtype)
    y = _nvfp4.hadamard(m.array, m.dtype, size=size, signs=signs, seed=seed, along=along, sum=sum, rounded=rounded,
                        device=device_for(m.place, device), num_threads=thread_count(num_threads))
    return m.place.put_values(y, m.dtype if rounded else "fp32")


def amax(x: Array, dialect: str = "te", *, dtype: Dtype | None = None, device: str | None = None,
         num_threads: int | None = None) -> float:
    """max |x| as this dialect's tensor step takes it; with quantize(amax=...) a tensor spread over devices is one."""
    m = matrix(x, dtype)
    return _nvfp4.amax(m.array, m.dtype, dialect, device_for(m.place, device), thread_count(num_threads))


class _Products(NamedTuple):
    y: object
    dx: object
    dw: object


class LinearResult(_Products):
    """y (tokens, out), dx (tokens, in), dw (out, in), float32; `state` is what the recipe's schemes ran with."""

    state: dict


def _result(place, y, dx, dw, state):
    result = LinearResult(*(None if m is None else place.put_values(m, "fp32") for m in (y, dx, dw)))
    result.state = state
    return result


def linear(x: Array, w: Array, dy: Array | None = None, recipe: RecipeLike = "nvidia", *, seed: int = 0,
           state: State | None = None, dtype: Dtype | None = None, device: str | None = None,
           num_threads: int | None = None) -> LinearResult:
    """One step of a linear layer, X (tokens, in), W (out, in), dY (tokens, out), by a recipe: its name, a Recipe, or a
    dict or file of its JSON form. `nvfp4 linear` of the same inputs and seed gives the same bytes. Without dy only y is
    computed. Without a state, {"fprop": {NAME: [integers]}, "dgrad": ..., "wgrad": ...}, schemes calibrate on these
    matrices."""
    if dy is None:
        return linear_forward(x, w, recipe, seed=seed, state=state, dtype=dtype, device=device, num_threads=num_threads)
    r, X, W, D = recipe_of(recipe), matrix(x, dtype, "x"), matrix(w, dtype, "w"), matrix(dy, dtype, "dy")
    return _result(X.place, *_nvfp4.linear(r, X.array, X.dtype, W.array, W.dtype, D.array, D.dtype, seed, state,
                                           device_for(X.place, device), thread_count(num_threads)))


def linear_forward(x: Array, w: Array, recipe: RecipeLike = "nvidia", *, seed: int = 0, state: State | None = None,
                   dtype: Dtype | None = None, device: str | None = None,
                   num_threads: int | None = None) -> LinearResult:
    """fprop alone: a LinearResult of y, whose `forward` linear_backward() takes."""
    r, X, W = recipe_of(recipe), matrix(x, dtype, "x"), matrix(w, dtype, "w")
    y, kept, forward = _nvfp4.linear_forward(r, X.array, X.dtype, W.array, W.dtype, seed, _of_pass(state, "fprop"),
                                             device_for(X.place, device), thread_count(num_threads))
    result = _result(X.place, y, None, None, {"fprop": kept})
    result.forward = forward
    return result


def linear_backward(x: Array, w: Array, dy: Array, recipe: RecipeLike = "nvidia", *, forward: Any = None,
                    dx: bool = True, dw: bool = True, seed: int = 0, state: State | None = None,
                    dtype: Dtype | None = None, device: str | None = None,
                    num_threads: int | None = None) -> LinearResult:
    """dgrad and wgrad, each where it is asked for, with the bytes of linear(). `forward` is that of linear_forward() of
    the same x, w, recipe and seed; without it, it is computed again where the recipe needs it."""
    r, X, W, D = recipe_of(recipe), matrix(x, dtype, "x"), matrix(w, dtype, "w"), matrix(dy, dtype, "dy")
    layer, threads = device_for(X.place, device), thread_count(num_threads)
    if forward is None:
        forward = _nvfp4.Forward()
        if _nvfp4.needs_forward(r):
            _, _, forward = _nvfp4.linear_forward(r, X.array, X.dtype, W.array, W.dtype, seed,
                                                  _of_pass(state, "fprop"), layer, threads)
    made, kept = {}, {}
    for gemm_name in ["dgrad"] * dx + ["wgrad"] * dw:
        made[gemm_name], kept[gemm_name] = _nvfp4.linear_backward(
            r, gemm_name, X.array, X.dtype, W.array, W.dtype, D.array, D.dtype, forward, seed,
            _of_pass(state, gemm_name), layer, threads)
    return _result(X.place, None, made.get("dgrad"), made.get("wgrad"), kept)


def _of_pass(state, name):
    return None if state is None else {name: state.get(name, {})}


def updated_state(state: State | None, step: int, x: Array, w: Array, dy: Array, recipe: RecipeLike = "nvidia", *,
                  seed: int = 0, dtype: Dtype | None = None, device: str | None = None,
                  num_threads: int | None = None) -> State:
    """The state for this step of a training run: products whose calibration is due are calibrated on these matrices.
    `state` is None, or what was returned for the step before."""
    r, X, W, D = recipe_of(recipe), matrix(x, dtype, "x"), matrix(w, dtype, "w"), matrix(dy, dtype, "dy")
    return _nvfp4.updated_state(r, state or {}, step, X.array, X.dtype, W.array, W.dtype, D.array, D.dtype, seed,
                                device_for(X.place, device), thread_count(num_threads))
