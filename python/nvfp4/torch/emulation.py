"""Inference of an existing model as FP4 hardware would do it: weights quantized once, activations as they come."""

import torch

from .. import products, quantized
from ..model_recipe import model_recipe_of
from ..recipe import recipe_dict, recipe_of
from .linear import Linear, finished
from .model import place_of, replace_linears
from .plan import Plan, plan_of

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_SPEC = ("dialect", "block", "tensor_scale", "e4m3_max", "select", "error_fast")


def _spec(operand):
    return {key: getattr(operand, key) for key in _SPEC}


def _is_stored(recipe, weights_only):
    """Whether a quantized weight, or two, and nothing else make fprop: each rounded to nearest as it is."""
    operands = [recipe.fprop.b] if weights_only else [recipe.fprop.a, recipe.fprop.b]
    return recipe.fprop.scheme == "plain" and all(o.dialect and o.rounding == "rne" and not o.rht for o in operands)


@torch.library.custom_op("nvfp4::emulated_linear", mutates_args=())
def emulated_linear(x: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, global_scale: torch.Tensor | None,
                    plan: str, weights_only: bool) -> torch.Tensor:
    """Y in float32 of a stored weight: W4A4 by the recipe's fprop, W4A16 by recipe bf16's of the decoded weight."""
    recipe = plan_of(plan).recipe_at(0)
    X, q = x.detach().reshape(-1, x.shape[-1]), _weight(packed, scales, global_scale, recipe, x.shape[-1])
    if weights_only:
        y = products.linear_forward(X, quantized.dequantize(q, recipe.operands), _dense(recipe.operands)).y
    else:
        a = quantized.quantize(X.to(_TYPES[recipe.operands]), **_spec(recipe.fprop.a))
        y = products.gemm(a, q, recipe.fprop.accumulate, out_dtype=recipe.fprop.out_dtype).float()
    return y.view(*x.shape[:-1], packed.shape[0])


@emulated_linear.register_fake
def _(x, packed, scales, global_scale, plan, weights_only):
    return x.new_empty((*x.shape[:-1], packed.shape[0]), dtype=torch.float32)


def _dense(operands):
    return "bf16" if operands == "bf16" else {**recipe_dict("bf16"), "operands": operands}


def _weight(packed, scales, global_scale, recipe, columns):
    return quantized.QuantizedTensor.from_arrays(packed, scales, global_scale, shape=(packed.shape[0], columns),
                                                 dtype=recipe.operands, **_spec(recipe.fprop.b))


class EmulatedLinear(torch.nn.Module):
    """A linear layer whose weight is the codes and scales of a recipe's fprop; no gradients."""

    def __init__(self, layer, recipe, weights_only=False):
        super().__init__()
        self.in_features, self.out_features, self.weights_only = layer.in_features, layer.out_features, weights_only
        recipe = recipe_of(recipe)
        self.plan = Plan(model_recipe_of(recipe)).text
        q = quantized.quantize(layer.weight.detach().to(_TYPES[recipe.operands]), **_spec(recipe.fprop.b))
        for name in ("packed", "scales", "global_scale"):
            self.register_buffer(name, getattr(q, name))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

    def forward(self, x):
        y = emulated_linear(x, self.packed, self.scales, self.global_scale, self.plan, self.weights_only)
        return finished(y, self.bias, x.dtype)

    @property
    def weight(self):
        """What the codes decode to, in float32."""
        return _weight(self.packed, self.scales, self.global_scale, plan_of(self.plan).recipe_at(0),
                       self.in_features).dequantize()

    def extra_repr(self):
        recipe = plan_of(self.plan).recipe_at(0)
        return (f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
                f"recipe={recipe.name}, {'W4A16' if self.weights_only else 'W4A4'}")


def _emulated(layer, plan, name, place, weights_only):
    recipe = Plan(plan, name, **place).recipe_at(0)
    if _is_stored(recipe, weights_only):
        return EmulatedLinear(layer, recipe, weights_only)
    if weights_only and recipe.fprop.b.dialect:
        raise ValueError(f"W4A16 by {recipe.name}: expected a recipe whose fprop rounds W to nearest, under scheme "
                         "plain")
    return Linear.of(layer, recipe).eval().requires_grad_(False)


def emulate(model: torch.nn.Module, recipe="nvfp4_plain", rules: dict | None = None, *, weights_only: bool = False,
            blocks: str | None = None) -> torch.nn.Module:
    """The model with its torch.nn.Linear layers doing fprop of the recipe, for inference: W4A4, or with weights_only
    W4A16, where the decoded weight meets activations in BF16. Weights are quantized once and stored as codes; where a
    scheme patches or splits them (chon, arcquant, averis, metis) they are quantized in every pass, to the same codes,
    and what the scheme calibrates comes from the first batch. rules and blocks as in convert()."""
    plan = model_recipe_of(recipe, rules)
    return replace_linears(model, lambda name, layer: _emulated(layer, plan, name, place_of(model, name, blocks),
                                                                weights_only))
