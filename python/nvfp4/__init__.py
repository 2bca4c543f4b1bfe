"""NVFP4 numerics, bit for bit. The names are those of the program `nvfp4` and its files."""

from . import layouts
from ._nvfp4 import __version__, get_num_threads, set_num_threads
from .checks import (Explanation, bound, boundaries, diff, element_bounds, explain, explain_command, identify,
                     output_errors, product_bounds)
from .errors import FileError
from .golden import GoldenCase, check_golden, golden_cases, golden_manifest, make_golden, read_golden
from .instructions import mma
from .model_recipe import (ModelRecipe, OsciReset, model_recipe_dict, model_recipe_of, post_qk_protection,
                           published_model_recipe)
from .products import LinearResult, amax, gemm, hadamard, linear, linear_backward, linear_forward, updated_state
from .quantized import QuantizedTensor, dequantize, load, quantize
from .recipe import Recipe, recipe_dict, recipe_of
from .stack import load_stack, quantize_stack, save_stack
from .tables import (accumulations, devices, dialects, producers, recipes, schemes, te_random_maps,
                     te_random_words)

__all__ = [
    "Explanation", "FileError", "GoldenCase", "LinearResult", "ModelRecipe", "OsciReset", "QuantizedTensor", "Recipe",
    "__version__", "accumulations", "amax", "bound", "boundaries", "check_golden", "dequantize", "devices", "dialects",
    "diff", "element_bounds", "explain", "explain_command", "gemm", "get_num_threads", "golden_cases",
    "golden_manifest", "hadamard", "identify", "layouts", "linear", "linear_backward", "linear_forward", "load",
    "load_stack", "make_golden", "mma", "model_recipe_dict", "model_recipe_of", "output_errors", "post_qk_protection",
    "producers", "product_bounds", "published_model_recipe", "quantize", "quantize_stack", "read_golden", "recipe_dict",
    "recipe_of", "recipes", "save_stack", "schemes", "set_num_threads", "te_random_maps", "te_random_words",
    "updated_state",
]
