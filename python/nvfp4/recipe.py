"""Recipes: the library's records, and their JSON form."""

import json
import os
from typing import Any

from . import _nvfp4
from .errors import FileError
from .kinds import RecipeLike

Recipe = _nvfp4.Recipe


def _operand_dict(o):
    if not o.dialect:
        return None
    d = {key: getattr(o, key) for key in ("dialect", "block", "tensor_scale", "rounding", "rht", "rht_signs", "source")}
    four_over_six = {key: getattr(o, key) for key in ("e4m3_max", "select", "error_fast")}
    return d if four_over_six == {"e4m3_max": 448, "select": "mae", "error_fast": False} else {**d, **four_over_six}


def _gemm_dict(g):
    d = {"a": _operand_dict(g.a), "b": _operand_dict(g.b), "accumulate": g.accumulate, "out_dtype": g.out_dtype}
    options = {key: int(value) if value.isdigit() else value for key, value in g.options.items()}
    if g.scheme != "plain" or options:
        d["scheme"] = {"name": g.scheme, **options}
    if g.accumulate_dense != "sm100_bf16":
        d["accumulate_dense"] = g.accumulate_dense
    return d


def recipe_dict(recipe: RecipeLike) -> dict[str, Any]:
    """The JSON form: what --recipe FILE.json of the program reads."""
    r = recipe_of(recipe)
    return {"name": r.name, "operands": r.operands,
            **{gemm: _gemm_dict(getattr(r, gemm)) for gemm in ("fprop", "dgrad", "wgrad")}}


def _known(fields, known, what):
    for key in fields:
        if key not in known:
            raise ValueError(f"{what}: expected fields of {', '.join(known)}, found '{key}'")


def _operand_of(fields, what):
    if fields is None:
        return _nvfp4.OperandRecipe()
    _known(fields, ("dialect", "block", "tensor_scale", "rounding", "rht", "rht_signs", "source", "e4m3_max", "select",
                    "error_fast"), what)
    return _nvfp4.OperandRecipe(**fields)


def _gemm_of(fields, what):
    _known(fields, ("a", "b", "accumulate", "out_dtype", "scheme", "accumulate_dense"), what)
    given = {key: fields[key] for key in ("accumulate", "out_dtype", "accumulate_dense") if key in fields}
    scheme = dict(fields.get("scheme", {"name": "plain"}))
    options = {"scheme": scheme.pop("name")}
    options["options"] = {key: value if isinstance(value, str) else json.dumps(value) for key, value in scheme.items()}
    return _nvfp4.GemmRecipe(_operand_of(fields.get("a"), f"{what}.a"), _operand_of(fields.get("b"), f"{what}.b"),
                             **given, **options)


def _from_dict(d):
    _known(d, ("name", "operands", "fprop", "dgrad", "wgrad"), "recipe")
    try:
        gemms = [_gemm_of(d[gemm], gemm) for gemm in ("fprop", "dgrad", "wgrad")]
        return Recipe(d["name"], *gemms, operands=d.get("operands", "bf16"))
    except KeyError as error:
        raise ValueError(f"recipe: expected field {error}, found none") from None
    except TypeError as error:
        raise ValueError(f"recipe {d.get('name')}: expected fields of the types of its JSON form: {error}") from None


def _from_file(path):
    try:
        with open(path, encoding="utf-8") as file:
            return _from_dict(json.load(file))
    except OSError as error:
        raise FileError(path, "file", "a readable recipe", error.strerror) from None
    except ValueError as error:
        raise FileError(path, "recipe", "a recipe that can be run", str(error)) from None


def recipe_of(recipe: RecipeLike) -> Recipe:
    """A Recipe of its name, of a FILE.json, of a dict of that form, or one as it is."""
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, dict):
        return _from_dict(recipe)
    if isinstance(recipe, os.PathLike) or recipe.endswith(".json"):
        return _from_file(os.fspath(recipe))
    return Recipe.of_name(recipe)
