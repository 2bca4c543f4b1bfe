"""A torch model whose modules have the names of a checkpoint's tensors: what loaders that start from a model
need."""
import torch


def model_of(tensors):
    """A Linear or Embedding for each 2-D NAME.weight of {name: (shape, dtype)}, plain parameters for the rest."""
    root = torch.nn.Module()
    for name, (shape, dtype) in tensors.items():
        module_name, _, parameter = name.rpartition(".")
        module = submodule(root, module_name)
        if parameter == "weight" and len(shape) == 2:
            layer = torch.nn.Embedding if "embed" in module_name else torch.nn.Linear
            replace(root, module_name, made(layer, shape, dtype, f"{module_name}.bias" in tensors))
        elif not hasattr(module, parameter):
            value = torch.empty(shape, dtype=dtype)
            module.register_parameter(parameter, torch.nn.Parameter(value, requires_grad=False))
    return root


def made(layer, shape, dtype, has_bias):
    if layer is torch.nn.Embedding:
        return layer(*shape, dtype=dtype)
    return layer(shape[1], shape[0], bias=has_bias, dtype=dtype)


def submodule(root, name):
    module = root
    for part in filter(None, name.split(".")):
        if not hasattr(module, part):
            module.add_module(part, torch.nn.Module())
        module = getattr(module, part)
    return module


def replace(root, name, module):
    parent, _, leaf = name.rpartition(".")
    setattr(submodule(root, parent), leaf, module)
