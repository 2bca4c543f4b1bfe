"""What arguments may be, for type checkers."""

import os
from typing import Any

#: A NumPy array or a torch tensor; results are of the same kind.
Array = Any
#: "float32", "bf16", "float16" or a dtype of NumPy, ml_dtypes or torch.
Dtype = Any
Path = str | os.PathLike
#: A recipe's name, a Recipe, a dict of its JSON form, or the path of a FILE.json.
RecipeLike = Any
#: What schemes keep, by product and by the scheme's own names.
State = dict[str, dict[str, list[int]]]
