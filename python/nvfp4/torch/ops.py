"""The products of a linear layer as operators of torch, which torch.compile takes as they are. They are pure: the
same arguments give the same bytes. `clock` is int64 (seed, layer, step, draw), of which draw is the seed of this step's
bits."""

import torch

from .. import _nvfp4, products
from .plan import plan_of
from .kept import state_in, written


def _moment(clock):
    _, _, step, draw = clock.tolist()
    return step, draw & (2**64 - 1)


def _flat(x):
    return x.detach().reshape(-1, x.shape[-1])


def _given(kept, plan, recipe, gemm, step, calibrate):
    """The state for a product; None where it is to be calibrated: where it is due, else where there is none yet."""
    product = getattr(recipe, gemm)
    if not product.keeps:
        return None
    state = state_in(kept, plan.rows, gemm)
    if not state or (calibrate and _nvfp4.is_due(product, state, step)):
        return None
    return {gemm: state}


def _kept(kept, plan, recipe, gemm, made):
    if not getattr(recipe, gemm).keeps:
        return kept.clone()
    return written(kept, plan.rows, gemm, made.state[gemm])


@torch.library.custom_op("nvfp4::linear_forward", mutates_args=())
def linear_forward(x: torch.Tensor, w: torch.Tensor, clock: torch.Tensor, kept: torch.Tensor, plan: str,
                   calibrate: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Y = X W^T in float32, and what is kept then."""
    if x.numel() == 0:
        return _new(x, (*x.shape[:-1], w.shape[0])), kept.clone()
    p, (step, seed) = plan_of(plan), _moment(clock)
    recipe = p.recipe_at(step)
    made = products.linear_forward(_flat(x), w, recipe, seed=seed,
                                   state=_given(kept, p, recipe, "fprop", step, calibrate))
    return made.y.view(*x.shape[:-1], w.shape[0]), _kept(kept, p, recipe, "fprop", made)


@linear_forward.register_fake
def _(x, w, clock, kept, plan, calibrate):
    return _new(x, (*x.shape[:-1], w.shape[0])), torch.empty_like(kept)


def _new(like, shape):
    return like.new_empty(shape, dtype=torch.float32)


def _forward_again(x, w, recipe, seed, kept, plan):
    """What dgrad and wgrad take from fprop, whose state is kept by now."""
    if not _nvfp4.needs_forward(recipe):
        return _nvfp4.Forward()
    state = state_in(kept, plan.rows, "fprop") if recipe.fprop.keeps else {}
    return products.linear_forward(x, w, recipe, seed=seed, state={"fprop": state} if state else None).forward


@torch.library.custom_op("nvfp4::linear_backward", mutates_args=())
def linear_backward(dy: torch.Tensor, x: torch.Tensor, w: torch.Tensor, clock: torch.Tensor, kept: torch.Tensor,
                    plan: str, calibrate: bool, dx: bool, dw: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """dX and dW in float32, each where it is asked for, else empty, and what is kept then."""
    if x.numel() == 0:
        return _new(x, x.shape if dx else 0), _new(w, w.shape if dw else 0).zero_(), kept.clone()
    p, (step, seed) = plan_of(plan), _moment(clock)
    recipe, X, D = p.recipe_at(step), _flat(x), _flat(dy)
    forward = _forward_again(X, w, recipe, seed, kept, p)
    made = {}
    for gemm, index in [("dgrad", 1)] * dx + [("wgrad", 2)] * dw:
        state = _given(kept, p, recipe, gemm, step, calibrate)
        result = products.linear_backward(X, w, D, recipe, forward=forward, dx=gemm == "dgrad", dw=gemm == "wgrad",
                                          seed=seed, state=state)
        made[gemm], kept = result[index], _kept(kept, p, recipe, gemm, result)
    return (made["dgrad"].view(x.shape) if dx else _new(x, 0), made["wgrad"] if dw else _new(w, 0),
            kept if made else kept.clone())


@linear_backward.register_fake
def _(dy, x, w, clock, kept, plan, calibrate, dx, dw):
    return _new(x, x.shape if dx else 0), _new(w, w.shape if dw else 0), torch.empty_like(kept)


def _save(ctx, inputs, output):
    x, w, clock, kept, ctx.plan, ctx.calibrate = inputs
    ctx.save_for_backward(x, w, clock, output[1])
    ctx.home = kept if any(gemm != "fprop" for gemm, _ in plan_of(ctx.plan).rows) and len(kept) else None


def _backward(ctx, dy, _):
    x, w, clock, kept = ctx.saved_tensors
    want_dx, want_dw = ctx.needs_input_grad[:2]
    dx, dw, kept = linear_backward(dy, x, w, clock, kept, ctx.plan, ctx.calibrate, want_dx, want_dw)
    if ctx.home is not None:
        ctx.home.copy_(kept)
    return (dx.to(x.dtype) if want_dx else None, dw.to(w.dtype) if want_dw else None, None, None, None, None)


linear_forward.register_autograd(_backward, setup_context=_save)
