"""What there is: dialects, producers, recipes, schemes, accumulations, devices, each a list of records."""

from typing import Any

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


def devices() -> list[str]:
    """The layers of this build and machine, of "cpu", "reference" and "gpu"; all give the same bytes."""
    return _nvfp4.devices()
