"""For the tests of somebody's kernel: its bytes against the right ones, or its values against a derived bound.

The pytest plugin is `nvfp4.testing.plugin`; inputs built to expose differences are `nvfp4.golden_cases`,
`nvfp4.boundaries` and, for hypothesis, `nvfp4.testing.strategies`."""

from .equality import assert_equal
from .mismatch import Mismatch
from .values import assert_values_close_by_bound

__all__ = ["Mismatch", "assert_equal", "assert_values_close_by_bound"]
