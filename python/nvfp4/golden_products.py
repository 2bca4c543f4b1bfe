"""Golden files of products of two quantized tensors, of linear layers, and of matrix instructions."""

import numpy as np

from . import _nvfp4
from .array_file import open_arrays
from .errors import FileError, one_line
from .golden_compare import account, differing_floats, new_total, require_form
from .golden_file import options_of, read_golden
from .instructions import mma
from .manifest import codes_per_byte
from .products import gemm, linear
from .quantized import QuantizedTensor, profile_of


def _operand(spec, arrays, prefix):
    """K is taken to the end of its last block: pad codes are zero, and add nothing under any scale."""
    packed = np.atleast_2d(arrays[prefix + "packed"])
    rows, cols = packed.shape[0], packed.shape[1] * codes_per_byte(spec.dialect)
    return QuantizedTensor(_nvfp4.Tensor(spec, "fp32", rows, cols, packed, arrays[prefix + "scales"],
                                         arrays.get(prefix + "global")))


def _product_of(path, manifest):
    spec, accumulate = profile_of(**options_of(path, manifest)).spec, manifest["accumulate"]
    return lambda arrays: {"d": gemm(_operand(spec, arrays, "a_"), _operand(spec, arrays, "b_"), accumulate)}


def _layer_of(path, manifest):
    recipe, seed = manifest["recipe"], manifest["seed"]

    def made(arrays):
        return linear(arrays["x"], arrays["w"], arrays["dy"], recipe, seed=seed)._asdict()

    return made


_MAKERS = {"gemm": _product_of, "linear": _layer_of}
PRODUCT_KINDS = (*_MAKERS, "mma")


def check_products(path, manifest):
    """As check_golden(), of a file of one of PRODUCT_KINDS."""
    try:
        if manifest["kind"] == "mma":
            return _check_instructions(path, manifest)
        make = _MAKERS[manifest["kind"]](path, manifest)
    except KeyError as error:
        raise FileError(path, f"manifest field {error}", "it in the manifest", "none") from None
    total = new_total()
    for case in read_golden(path).values():
        total["cases"] += 1
        total["equal"] += not sum(_differing_bytes(path, case, make, total))
    if not total["cases"]:
        raise FileError(path, "file", "a case with results", "none")
    return total


def _check_instructions(path, manifest):
    """Tiles of one instruction; array `case` says by its index which of the packs a tile is of."""
    options = {key: manifest.get(key) for key in ("a_format", "b_format")}
    model, out_dtype, packs = manifest["accumulate"], manifest["out_dtype"], manifest["packs"]
    with open_arrays(path) as file:
        a, b, c, theirs, of_tile = (file.read(name) for name in ("A", "B", "C", "D", "case"))
        scales = {f"{x}_scales": file.read(f"SF{x.upper()}") if f"SF{x.upper()}" in file else None for x in "ab"}
    try:
        ours = mma(a, b, c, model, out_dtype=out_dtype, **options, **scales)
    except ValueError as error:
        raise FileError(path, "arrays", "operands of an instruction", one_line(error)) from None
    if (ours.dtype, ours.shape, of_tile.shape) != (theirs.dtype, theirs.shape, ours.shape[:1]):
        raise FileError(path, "array 'D'", f"{ours.dtype} {ours.shape}", f"{theirs.dtype} {theirs.shape}")
    if (of_tile >= len(packs)).any():
        raise FileError(path, "array 'case'", f"0 to {len(packs) - 1}", str(of_tile.max()))
    changed = (ours ^ theirs).reshape(len(ours), -1).view(np.uint8) != 0
    by_pack = [int(changed[of_tile == index].sum()) for index in range(len(packs))]
    total = {**new_total(), "cases": len(packs), "equal": by_pack.count(0), "differing_bytes": sum(by_pack),
             "arrays": len(packs)}
    if (ours != theirs).any():
        tile, row, col = (int(i) for i in np.argwhere(ours != theirs)[0])
        place = {"case": packs[of_tile[tile]], "array": "D", "tile": tile, "row": row, "col": col}
        text = f"case {place['case']}, array D at ({tile}, {row}, {col}) differs"
        total["first"] = {**place, "text": text}
    return total


def _differing_bytes(path, case, make, total):
    try:
        made = make(case.arrays)
        theirs = {name: case.arrays[name] for name in made}
    except KeyError as error:
        raise FileError(path, f"case '{case.name}'", f"array {error}", "none") from None
    except (TypeError, ValueError) as error:
        raise FileError(path, f"case '{case.name}'", "operands of a product", one_line(error)) from None
    for name, ours in made.items():
        require_form(path, case, name, theirs[name], ours)
        yield account(total, case, name, theirs[name], ours, differing_floats(theirs[name], ours))
