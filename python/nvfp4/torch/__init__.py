"""Linear layers of PyTorch by the library's recipes: training, whole models, and emulated inference."""

from .emulation import EmulatedLinear, emulate
from .linear import Linear, draw, linear
from .model import advance, convert, layers, set_step

__all__ = ["EmulatedLinear", "Linear", "advance", "convert", "draw", "emulate", "layers", "linear", "set_step"]
