"""What there is: dialects, producers, recipes, schemes, accumulations, devices, each a list of records."""

from typing import Any

import numpy as np

from . import _nvfp4
from .recipe import recipe_dict


def dialects() -> list[dict[str, Any]]:
    """Every dialect as a dict: name, version, source, evidence, global_is, global_divisor, formats."""
    return _nvfp4.dialects()


def producers() -> list[dict[str, Any]]:
    """The producer profiles as dicts: a dialect with the options under which its golden files were made."""
    return [_producer(_nvfp4.Profile.of_producer(name)) for name in _nvfp4.producer_names()]


def _producer(p):
    return {"name": p.name, "dialect": p.spec.dialect, "block": p.spec.block, "tensor_scale": p.spec.tensor_scale,
            "e4m3_max": p.spec.e4m3_max, "select": p.spec.select, "error_fast": p.spec.error_fast,
            "columns": p.columns, "rht": p.rht, "rht_signs": p.rht_signs}


def recipes() -> list[dict[str, Any]]:
    """The published recipes in their JSON form."""
    return [recipe_dict(name) for name in _nvfp4.recipe_names()]


def schemes() -> list[dict[str, Any]]:
    """What a product may become before it is multiplied: names, options, and what a scheme keeps from step to step."""
    return _nvfp4.schemes()


def accumulations() -> list[dict[str, Any]]:
    """The models by which gemm() sums, with evidence and confidence."""
    return _nvfp4.accumulations()


def te_random_maps() -> list[dict[str, Any]]:
    """Kernels of Transformer Engine whose random bits are known, as dicts: name, source, evidence, whether the output
    is of the transpose, and of which (rows, columns) the input's shape must be a multiple."""
    return _nvfp4.te_random_maps()


def te_random_words(kernel: str, rows: int, cols: int, *, seed: int = 0, offset: int = 0,
                    rounds: int = 10) -> np.ndarray:
    """The random_words, uint32 (rows, cols / 4), with which quantize(rounding="sr", random_map="te") rounds as this
    kernel does: for a rows x cols output, under seed and offset of PyTorch's CUDA generator when it was called."""
    return _nvfp4.te_random_words(kernel, rows, cols, seed, offset, rounds)


def devices() -> list[str]:
    """The layers of this build and machine, of "cpu", "reference" and "gpu"; all give the same bytes."""
    return _nvfp4.devices()
