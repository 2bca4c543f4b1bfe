"""Stacks of experts and .safetensors: the program's bytes, there and back."""

import json
import struct

import numpy as np
import pytest

import nvfp4
from conftest import bf16_bits, wide


def assert_same_bytes(ours, program_file, save):
    save(ours)
    assert ours.read_bytes() == program_file.read_bytes()


@pytest.mark.parametrize("options", [
    {}, {"layout": "128x4"}, {"columns": True}, {"tensor_scale": "row"}, {"dialect": "mxfp4_ceil"}], ids=str)
def test_safetensors_are_the_programs(program, tmp_path, options):
    x = wide(33, 130)
    np.save(tmp_path / "x.npy", x)
    words = [word for key, value in options.items()
             for word in ([f"--{key}"] if value is True else [f"--{key.replace('_', '-')}", value])]
    program("quantize", tmp_path / "x.npy", "-o", tmp_path / "program.safetensors", *words)
    q = nvfp4.quantize(x, hash_input=True, **options)
    assert_same_bytes(tmp_path / "python.safetensors", tmp_path / "program.safetensors", q.save)
    assert nvfp4.load(tmp_path / "program.safetensors") == q


def test_safetensors_of_others(tmp_path):
    """Written by hand: types that NumPy lacks, and another order of bytes and of names."""
    from nvfp4.array_file import open_arrays

    header = {"__metadata__": {"format": "pt"}, "b": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [1, 5]},
              "a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]},
              "e": {"dtype": "F32", "shape": [0, 4], "data_offsets": [5, 5]}}
    text = json.dumps(header).encode()
    (tmp_path / "t.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes([0x7E, 1, 2, 3, 4]))
    with open_arrays(tmp_path / "t.safetensors") as file:
        assert file.names == ["b", "a", "e"]
        assert file.read("b").tolist() == [[0x0201, 0x0403]] and file.read("a").tolist() == [0x7E]
        assert file.read("e").shape == (0, 4)
        with pytest.raises(nvfp4.FileError, match="array 'c': expected it in the file, found none"):
            file.read("c")


@pytest.mark.parametrize("header, place", [
    (b"[]", "header: expected a JSON object, found list"),
    (b"{", "header: expected JSON text"),
    ({"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}, "tensor 't': expected a dtype, a shape and the offsets"),
    ({"dtype": "U8", "shape": [2], "data_offsets": [0, 1]}, "tensor 't': expected"),
    ({"dtype": "U8", "shape": {}, "data_offsets": [0, 1]}, "tensor 't': expected"),
    ({"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}, "tensor 't': expected"),
    ({"dtype": "U8", "shape": [-1, -1], "data_offsets": [0, 1]}, "tensor 't': expected"),
    ({"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}, "tensor 't': expected"),
    ({"dtype": "U8", "shape": [1]}, "tensor 't': expected"),
])
def test_safetensors_that_contradict_themselves(tmp_path, header, place):
    text = header if isinstance(header, bytes) else json.dumps({"t": header}).encode()
    (tmp_path / "t.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"1234")
    with pytest.raises(nvfp4.FileError) as caught:
        nvfp4.load(tmp_path / "t.safetensors")
    assert place in str(caught.value)


def test_a_safetensors_without_its_header(tmp_path):
    (tmp_path / "t.safetensors").write_bytes(struct.pack("<Q", 100) + b"{}")
    with pytest.raises(nvfp4.FileError, match="byte 0: expected the length of a header that the file has, found 100"):
        nvfp4.load(tmp_path / "t.safetensors")
    with pytest.raises(nvfp4.FileError, match="none.safetensors: file: expected a readable .safetensors"):
        nvfp4.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
@pytest.mark.parametrize("options", [
    {}, {"layout": "128x4"}, {"tensor_scale": "row"}, {"block": "16x16"}, {"dialect": "mxfp4_ceil"},
    {"dialect": "te_4over6", "e4m3_max": 256, "select": "mse"}], ids=str)
def test_stacks_are_the_programs(program, tmp_path, ending, options):
    x = wide(64, 80).reshape(4, 16, 80)
    np.save(tmp_path / "x.npy", x)
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value)]
    file = tmp_path / f"program{ending}"
    program("quantize", tmp_path / "x.npy", "-o", file, "--experts", *words)
    stack = nvfp4.quantize_stack(x, hash_input=True, **options)
    assert_same_bytes(tmp_path / f"python{ending}", file, lambda path: nvfp4.save_stack(path, stack))
    assert nvfp4.load_stack(file) == stack
    assert all(e == nvfp4.quantize(part, **options) for e, part in zip(nvfp4.quantize_stack(x, **options), x))


def test_what_is_no_stack(tmp_path):
    x = wide(32, 64).reshape(2, 16, 64)
    stack = nvfp4.quantize_stack(bf16_bits(x), dtype="bf16")
    nvfp4.save_stack(tmp_path / "stack.npz", stack)
    with pytest.raises(nvfp4.FileError, match="array 'manifest': expected one matrix, found a stack of 2 experts"):
        nvfp4.load(tmp_path / "stack.npz")
    stack[0].save(tmp_path / "one.npz")
    with pytest.raises(nvfp4.FileError, match="array 'manifest': expected a stack of experts, found one matrix"):
        nvfp4.load_stack(tmp_path / "one.npz")
    with pytest.raises(ValueError, match="seed: of one matrix, not of a stack"):
        nvfp4.quantize_stack(x, seed=1)
    with pytest.raises(ValueError, match="x: expected three dimensions, experts first"):
        nvfp4.quantize_stack(x[0])
    with pytest.raises(ValueError, match="expected experts of one dialect"):
        nvfp4.save_stack(tmp_path / "s.npz", [stack[0], nvfp4.quantize(x[0])])
    with pytest.raises(ValueError, match="expected one or more experts"):
        nvfp4.save_stack(tmp_path / "s.npz", [])
    arrays = dict(np.load(tmp_path / "stack.npz"))
    np.savez(tmp_path / "short.npz", **{**arrays, "global": arrays["global"][:1]})
    with pytest.raises(nvfp4.FileError, match="array 'global': expected 2 experts in its first dimension"):
        nvfp4.load_stack(tmp_path / "short.npz")
