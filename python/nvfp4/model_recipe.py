"""Which layers of a model are quantized, and until when: the library's record, and its JSON form."""

import json
import os

from . import _nvfp4
from .errors import FileError
from .recipe import Recipe, _known, recipe_dict, recipe_of

ModelRecipe = _nvfp4.ModelRecipe
OsciReset = _nvfp4.OsciReset

_RULES = ("high_precision", "first_blocks", "last_blocks", "keep", "switch_step", "switch_forward_only")


def _of_rules(recipe, rules):
    _known(rules, _RULES, "rules")
    high_precision = recipe_of(rules.get("high_precision", "bf16"))
    if isinstance(rules.get("keep"), str):
        raise ValueError(f"rules: expected a list of globs as 'keep', found '{rules['keep']}'")
    given = {key: rules[key] for key in _RULES[1:] if key in rules}
    return ModelRecipe(recipe_of(recipe), high_precision, **given)


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise FileError(path, "file", "a readable recipe", error.strerror) from None
    except ValueError as error:
        raise FileError(path, "recipe", "JSON", str(error)) from None


def model_recipe_of(recipe, rules: dict | None = None) -> ModelRecipe:
    """A ModelRecipe of a recipe (a name, a Recipe, a dict or FILE.json) and rules, a dict of first_blocks, last_blocks
    (how many of the model's stay in high precision), keep (globs of layer names that do), switch_step (from then on all
    do; -1: never), switch_forward_only, high_precision (a recipe, by default bf16). A dict or FILE.json may hold all of
    it, with the recipe as 'recipe': the program's form. A ModelRecipe stays as it is."""
    if isinstance(recipe, ModelRecipe) and not rules:
        return recipe
    if isinstance(recipe, os.PathLike) or (isinstance(recipe, str) and recipe.endswith(".json")):
        recipe = _read(os.fspath(recipe))
    if isinstance(recipe, dict) and "recipe" in recipe:
        fields = {**recipe, **(rules or {})}
        return _of_rules(fields.pop("recipe"), fields)
    return _of_rules(recipe, rules or {})


def _name_or_dict(recipe):
    published = recipe.name in _nvfp4.recipe_names()
    return recipe.name if published and Recipe.of_name(recipe.name).is_equal(recipe) else recipe_dict(recipe)


def model_recipe_dict(model: ModelRecipe) -> dict:
    """The JSON form, in which a published recipe stands by its name."""
    return {"recipe": _name_or_dict(model.recipe), "high_precision": _name_or_dict(model.high_precision),
            **{key: getattr(model, key) for key in _RULES[1:]}}


def published_model_recipe(model: str, steps: int, late_switch: bool = False) -> ModelRecipe:
    """How NVIDIA trained nvidia_12b, nvidia_8b or nvidia_1.2b (arXiv 2509.25149), over a training of `steps`."""
    return _nvfp4.published_model_recipe(model, steps, late_switch)


def post_qk_protection(recipe="chon", attention: str = "softmax") -> ModelRecipe:
    """Everything by this recipe but what CHON (arXiv 2602.02047) keeps in BF16 after QK: of attention "softmax",
    "linear" or "gla"."""
    return _nvfp4.post_qk_protection(recipe_of(recipe), attention)
