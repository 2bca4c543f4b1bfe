"""What schemes keep from step to step, as one int64 tensor a layer: a row for each list, its length before its numbers,
-1 where there is none yet. It has room for as many numbers as the layer has channels."""

import torch

GEMMS = ("fprop", "dgrad", "wgrad")


def rows_of(recipe):
    """(product, name) of every list. Those of a product that takes fprop's codes are fprop's, and stand there alone."""
    products = ((gemm, getattr(recipe, gemm)) for gemm in GEMMS)
    return [(gemm, name) for gemm, product in products if product.b.source == "input" for name in product.keeps]


def empty(recipe, channels, device=None):
    return torch.full((len(rows_of(recipe)), 1 + channels), -1, dtype=torch.int64, device=device)


def state_in(kept, rows, gemm):
    """The state of one product: empty where there is none yet."""
    lists = {}
    for (of, name), row in zip(rows, kept.tolist()):
        if of == gemm and row[0] >= 0:
            lists[name] = row[1:1 + row[0]]
    return lists


def written(kept, rows, gemm, state):
    """A copy with this state of one product."""
    kept = kept.clone()
    for row, (of, name) in enumerate(rows[:len(kept)]):
        if of != gemm:
            continue
        numbers = state[name]
        if len(numbers) >= kept.shape[1]:
            raise ValueError(f"{gemm}: '{name}' has {len(numbers)} numbers: expected no more than the layer's "
                             f"{kept.shape[1] - 1} channels")
        kept[row].fill_(-1)
        kept[row, :1 + len(numbers)] = torch.tensor([len(numbers), *numbers], device=kept.device)
    return kept
