import ast
import importlib.resources

import nvfp4
from nvfp4 import _nvfp4


def stub():
    files = importlib.resources.files("nvfp4")
    if not (files / "_nvfp4.pyi").is_file():
        return None
    return ast.parse((files / "_nvfp4.pyi").read_text())


def test_the_package_is_typed():
    assert (importlib.resources.files("nvfp4") / "py.typed").is_file()
    tree = stub()
    assert tree is not None, "the wheel has no _nvfp4.pyi"
    declared = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert {name for name in vars(_nvfp4) if not name.startswith("_")} == declared


def test_public_functions_say_what_they_take_and_give():
    for name in nvfp4.__all__:
        public = getattr(nvfp4, name)
        if callable(public) and not isinstance(public, type) and public.__module__ != "nvfp4._nvfp4":
            assert "return" in public.__annotations__, name
            assert public.__doc__, name


def test_what_is_listed_is_there():
    assert all(hasattr(nvfp4, name) for name in nvfp4.__all__)
    assert sorted(nvfp4.__all__) == nvfp4.__all__
