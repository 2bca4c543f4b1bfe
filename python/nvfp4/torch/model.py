"""Whole models: their linear layers by a recipe, some of them in high precision, and all of them step by step."""

import torch

from ..model_recipe import OsciReset, model_recipe_of
from .linear import Linear


def linears(model):
    """(name, layer) of every torch.nn.Linear itself: a class derived from it may never call its forward()."""
    return [(name, m) for name, m in model.named_modules(remove_duplicate=False) if type(m) is torch.nn.Linear]


def place_of(model, name, blocks):
    """The block that a layer is in, and how many there are: of the module named `blocks`, or the outermost
    ModuleList."""
    parts = name.split(".")
    for length in range(len(parts)):
        path = ".".join(parts[:length])
        module = model.get_submodule(path)
        if path == blocks if blocks is not None else isinstance(module, torch.nn.ModuleList):
            children = [child for child, _ in module.named_children()]
            return {"block": children.index(parts[length]), "blocks": len(children)}
    return {"block": 0, "blocks": 1}


def replace_linears(model, make):
    """The model with make(name, layer) in each Linear's place; one that stands in several is made once."""
    made = {}
    for name, layer in linears(model):
        if id(layer) not in made:
            made[id(layer)] = make(name, layer)
        if not name:
            return made[id(layer)]
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, made[id(layer)])
    return model


def convert(model: torch.nn.Module, recipe="nvidia", rules: dict | None = None, *, seed: int = 0,
            blocks: str | None = None, osci_reset: OsciReset | None = None) -> torch.nn.Module:
    """The model with each torch.nn.Linear as an nvfp4.torch.Linear of the same parameters, numbered in the order of
    named_modules(). `recipe` and `rules` are those of nvfp4.model_recipe_of(): which layers stay in high precision, by
    block and by name, and from which step on all do. `blocks` names the module whose children are the model's blocks,
    by default the outermost ModuleList above a layer; layers outside of it are block 0 of 1. osci_reset: an
    nvfp4.OsciReset, for FP32 master weights. Layers in high precision run that recipe of the library, too."""
    plan = model_recipe_of(recipe, rules)
    numbers = iter(range(2**32))

    def make(name, layer):
        return Linear.of(layer, plan, seed=seed, number=next(numbers), name=name, osci_reset=osci_reset,
                         **place_of(model, name, blocks))

    return replace_linears(model, make)


def layers(model: torch.nn.Module) -> list[Linear]:
    """Every nvfp4.torch.Linear in it, once."""
    return [m for m in model.modules() if isinstance(m, Linear)]


def advance(model: torch.nn.Module) -> None:
    """All layers to the next step: to be called after optimizer.step(), or as its hook,
    optimizer.register_step_post_hook(lambda *_: nvfp4.torch.advance(model))."""
    for layer in layers(model):
        layer.advance()


def set_step(model: torch.nn.Module, step: int) -> None:
    for layer in layers(model):
        layer.set_step(step)
