"""How golden arrays are compared: bit for bit, a NaN being a NaN, by the rules of tests/golden/README.md."""

import numpy as np

from .errors import FileError
from .manifest import dialect_records


def new_total():
    """What check_golden() returns, before anything is compared."""
    return {"cases": 0, "equal": 0, "differing_bytes": 0, "not_run": 0, "refused": 0, "arrays": 0, "first": None}


def differing_floats(theirs, ours):
    """The number of differing bytes of two arrays of one shape, and the flat index of the first."""
    same = (theirs.view(np.uint32) == ours.view(np.uint32)) | (np.isnan(theirs) & np.isnan(ours))
    changed = np.where(same, 0, theirs.view(np.uint32) ^ ours.view(np.uint32))
    count = sum(int(((changed >> shift & 0xFF) != 0).sum()) for shift in (0, 8, 16, 24))
    return count, _first_of(same)


def _first_of(same):
    return None if same.all() else int(np.flatnonzero(~same.ravel())[0])


def differing(name, theirs, ours, given, q):
    """The same of a case's array, of which q makes ours and `given` has all of theirs."""
    if theirs.dtype == np.float32:
        return differing_floats(theirs, ours)
    same = theirs == ours
    if "scales" in name:
        same |= _is_nan_byte(theirs) & _is_nan_byte(ours)
    if name.endswith("packed") and dialect_records()[q.dialect]["nan_codes_vary"]:
        same |= _under_nan(name, given, q, theirs.shape)
    return int((~same).sum()), _first_of(same)


def _is_nan_byte(scales):
    return (scales & 0x7F) == 0x7F


def _under_nan(name, given, q, shape):
    of = q.columns if name.startswith("col_") else q
    ours = of._tensor.scales
    theirs = given.get(name.replace("packed", "scales"), ours)
    both = _is_nan_byte(ours) & _is_nan_byte(theirs)
    return np.repeat(both, shape[1] // both.shape[1], axis=1)


def _element_bits(array, index):
    flat = array.reshape(-1)
    return int(flat.view(np.uint32)[index] if flat.dtype == np.float32 else flat[index])


def _first(case, name, theirs, ours, index):
    row, col = divmod(index, theirs.shape[-1])
    expected, actual = _element_bits(theirs, index), _element_bits(ours, index)
    digits = 8 if theirs.dtype == np.float32 else 2
    text = (f"case {case.name}, array {name} at ({row}, {col}): the file has 0x{expected:0{digits}X}, recomputed "
            f"0x{actual:0{digits}X}")
    return {"case": case.name, "array": name, "row": row, "col": col, "expected": expected, "actual": actual,
            "text": text}


def account(total, case, name, theirs, ours, found):
    """Adds an array's (differing bytes, first index) to the total, and returns the former."""
    count, index = found
    total["arrays"] += 1
    total["differing_bytes"] += count
    if count:
        total["first"] = total["first"] or _first(case, name, theirs, ours, index)
    return count


def require_form(file, case, name, theirs, ours):
    """Throws FileError where the file's array has another type or shape than ours; swizzled scales may be flat."""
    any_shape = name == "scales_swizzled" and ours.size == theirs.size
    if ours.dtype != theirs.dtype or (ours.shape != theirs.shape and not any_shape):
        raise FileError(file, f"array '{case.name}/{name}'", f"{ours.dtype} {ours.shape}",
                        f"{theirs.dtype} {theirs.shape}")
