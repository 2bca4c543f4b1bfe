"""A linear layer that trains by a recipe: as a function and as a module."""

import torch

from .. import _nvfp4
from ..arrays import device_for, matrix
from ..model_recipe import model_recipe_of
from ..recipe import Recipe, recipe_of
from . import ops
from .kept import GEMMS, empty, state_in
from .plan import Plan, plan_of


def _signed(seed):
    """The 64 bits of a seed as an int64."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed: expected 0 to 2^64 - 1, found {seed}")
    return seed - 2**64 if seed >= 2**63 else seed


def draw(seed: int, layer: int, step: int) -> int:
    """The seed of a layer's bits at a step: two words of Philox4x32-10 of counter (step, layer) under key (seed)."""
    def words(number):
        return [number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF]

    low, high, _, _ = _nvfp4.philox4x32(words(step) + words(layer), words(seed))
    return low | high << 32


def finished(y, bias, dtype):
    return (y if bias is None else y + bias.float()).to(dtype)


def linear(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None, recipe="nvidia", *,
           seed: int = 0) -> torch.Tensor:
    """x W^T + bias, whose gradients are the recipe's dgrad and wgrad: the bytes of nvfp4.linear() of the same seed, in
    float32, rounded to x's element type. Schemes calibrate on these matrices. x is (..., in), w (out, in)."""
    plan = recipe if isinstance(recipe, str) and not recipe.endswith(".json") else _plan_text(recipe)
    clock = torch.tensor([0, 0, 0, _signed(seed)], device=w.device)
    y, _ = ops.linear_forward(x, w, clock, clock.new_empty(0, 1), plan, False)
    return finished(y, bias, x.dtype)


def _plan_text(recipe):
    return Plan(model_recipe_of(recipe_of(recipe))).text


class Linear(torch.nn.Linear):
    """torch.nn.Linear by a recipe, or by the one that a ModelRecipe has for this layer at this step. Random bits are
    those of draw(seed, layer, step), the same in every forward pass of a step, so that a pass done again gives the same
    bytes; advance() goes to the next step. `clock` (seed, layer, step, draw) and what schemes keep are in state_dict: a
    resumed training gives the same bytes. In evaluation schemes calibrate only where nothing is kept yet."""

    def __init__(self, in_features, out_features, bias=True, recipe="nvidia", *, seed=0, layer=0, name="", block=0,
                 blocks=1, osci_reset=None, device=None, dtype=None):
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self._follow(Plan(model_recipe_of(recipe), name, block, blocks), seed, layer, osci_reset)

    def _follow(self, plan, seed, layer, osci_reset):
        self.plan = plan.text
        self.osci_reset, self.osci_state = osci_reset, ()
        device = self.weight.device
        clock = [_signed(seed), layer, 0, _signed(draw(seed, layer, 0))]
        self.register_buffer("clock", torch.tensor(clock, device=device))
        self.register_buffer("kept", empty(plan.model.recipe, max(self.in_features, self.out_features), device))

    @classmethod
    def of(cls, layer, recipe="nvidia", *, seed=0, number=0, name="", block=0, blocks=1, osci_reset=None):
        """A Linear that has the very parameters of a torch.nn.Linear."""
        made = cls.__new__(cls)
        made.__dict__.update({key: value.copy() if isinstance(value, dict) else value
                              for key, value in layer.__dict__.items()})
        made._follow(Plan(model_recipe_of(recipe), name, block, blocks), seed, number, osci_reset)
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, kept = ops.linear_forward(x, self.weight, self.clock, self.kept, self.plan, self.training)
        if len(self.kept):
            with torch.no_grad():
                self.kept.copy_(kept)
        return finished(y, self.bias, x.dtype)

    @property
    def step(self) -> int:
        return self.clock[2].item()

    @property
    def seed(self) -> int:
        """Of this step: what nvfp4.linear() and the program take for the same bytes."""
        return self.clock[3].item() & (2**64 - 1)

    @property
    def recipe(self) -> Recipe:
        """Of this step."""
        return plan_of(self.plan).recipe_at(self.step)

    @property
    def state(self) -> dict:
        """What schemes keep, as nvfp4.linear() takes it; of products that take fprop's codes it is fprop's."""
        plan = plan_of(self.plan)
        state = {gemm: state_in(self.kept, plan.rows, gemm) for gemm in GEMMS}
        for gemm in GEMMS[1:]:
            product = getattr(plan.model.recipe, gemm)
            if product.keeps and product.b.source == "forward":
                state[gemm] = state["fprop"]
        return state

    @torch.no_grad()
    def set_step(self, step):
        seed, layer = self.clock[:2].tolist()
        self.clock[2:] = torch.tensor([step, _signed(draw(seed & (2**64 - 1), layer, step))])

    def advance(self):
        """To the next step, after the optimizer's. OsciReset sees the new weights first."""
        if self.osci_reset is not None and self.recipe.fprop.b.dialect:
            self._reset_oscillating()
        self.set_step(self.step + 1)

    @torch.no_grad()
    def _reset_oscillating(self):
        weight, state = matrix(self.weight, name="weight"), self.osci_state or _no_osci_state()
        w, state, resets = _nvfp4.osci_reset(weight.array, weight.dtype, self.step, self.osci_reset,
                                             *(values.numpy() for values in state),
                                             device_for(weight.place, None), 0)
        self.osci_state = tuple(torch.from_numpy(values.copy()) for values in state) if len(state[0]) else ()
        if resets:
            self.weight.copy_(torch.from_numpy(w))

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, values in zip(_OSCI_NAMES, self.osci_state):
            destination[f"{prefix}osci_reset.{name}"] = values

    def _load_from_state_dict(self, state_dict, prefix, *arguments):
        names = [f"{prefix}osci_reset.{name}" for name in _OSCI_NAMES]
        self.osci_state = tuple(state_dict.pop(name).to("cpu", copy=True) for name in names if name in state_dict)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def extra_repr(self):
        return f"{super().extra_repr()}, recipe={self.recipe.name}, step={self.step}"


_OSCI_NAMES = ("elements", "w", "d", "w_moved", "d_moved")


def _no_osci_state():
    return (torch.empty(0, dtype=torch.int64), *(torch.empty(0) for _ in _OSCI_NAMES[1:]))
