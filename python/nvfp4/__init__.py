"""NVFP4 numerics, bit for bit. The names are those of the program `nvfp4` and its files."""

from . import _nvfp4
from ._nvfp4 import __version__, get_num_threads, set_num_threads
from .errors import FileError
from .model_recipe import (ModelRecipe, OsciReset, model_recipe_dict, model_recipe_of, post_qk_protection,
                           published_model_recipe)
from .products import LinearResult, amax, gemm, hadamard, linear, linear_backward, linear_forward, updated_state
from .quantized import QuantizedTensor, dequantize, load, quantize
from .recipe import Recipe, recipe_dict, recipe_of
from .tables import accumulations, devices, dialects, producers, recipes, schemes

__all__ = [
    "FileError", "LinearResult", "ModelRecipe", "OsciReset", "QuantizedTensor", "Recipe", "__version__",
    "accumulations", "amax", "dequantize", "devices", "dialects", "gemm", "get_num_threads", "hadamard", "linear",
    "linear_backward", "linear_forward", "load", "model_recipe_dict", "model_recipe_of", "post_qk_protection",
    "producers", "published_model_recipe", "quantize", "recipe_dict", "recipe_of", "recipes", "schemes",
    "set_num_threads", "updated_state",
]
