"""A layer's place in a model's recipe, as the text that an operator takes."""

import functools
import json
from dataclasses import dataclass

from ..model_recipe import ModelRecipe, model_recipe_dict, model_recipe_of
from .kept import rows_of


@dataclass(frozen=True)
class Plan:
    model: ModelRecipe
    layer: str = ""
    block: int = 0
    blocks: int = 1

    @functools.cached_property
    def rows(self):
        return rows_of(self.model.recipe)

    def recipe_at(self, step):
        return self.model.recipe_at(step, self.layer, self.block, self.blocks)

    @property
    def text(self):
        place = {"layer": self.layer, "block": self.block, "blocks": self.blocks}
        return json.dumps({**model_recipe_dict(self.model), **place})


@functools.lru_cache(maxsize=None)
def plan_of(text):
    """Of a recipe's name, or of Plan.text."""
    if not text.startswith("{"):
        return Plan(model_recipe_of(text))
    fields = json.loads(text)
    place = {key: fields.pop(key) for key in ("layer", "block", "blocks")}
    return Plan(model_recipe_of(fields), **place)
