"""Inputs as hypothesis strategies; `pip install nvfp4[test]` has hypothesis."""

from hypothesis import strategies

from .. import _nvfp4
from ..arrays import dtype_name
from ..checks import boundaries
from ..golden import golden_cases


def tensor_amaxes(dtype="float32"):
    """Amaxes of whole tensors: those on which orders of operations part, and any other."""
    is_half = dtype_name(dtype) == "fp16"
    return strategies.one_of(
        strategies.sampled_from([6.0, 7.0, 12.0, 2688.0]),
        strategies.floats(2.0**-14, 65504.0 if is_half else 2.0**120, width=16 if is_half else 32))


def boundary_matrices(dialect="te", *, max_rows=4, dtype="float32", **options):
    """Matrices of up to `max_rows` rows of 96 on the decisions of one dialect; options as of nvfp4.boundaries()."""
    def matrix(rows, tensor_amax, seed):
        return boundaries(dialect, rows, tensor_amax=tensor_amax, seed=seed, dtype=dtype, **options)

    return strategies.builds(matrix, strategies.integers(1, max_rows), tensor_amaxes(dtype),
                             strategies.integers(0, 2**64 - 1))


def case_matrices(*packs, dtype="float32"):
    """The matrices of nvfp4.golden_cases(), of all packs without."""
    return strategies.sampled_from([x for pack in packs or _nvfp4.case_packs()
                                    for x in golden_cases(pack, dtype=dtype).values()])


def matrices(dialect="te", *, dtype="float32", **options):
    """Both."""
    return strategies.one_of(case_matrices(dtype=dtype), boundary_matrices(dialect, dtype=dtype, **options))
