import pytest

import nvfp4
from conftest import wide

torch = pytest.importorskip("torch", reason="not run: no torch")
nt = pytest.importorskip("nvfp4.torch")


@pytest.fixture
def x():
    return torch.from_numpy(wide(48, 64, 1))


def model():
    torch.manual_seed(2)
    return torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 32, bias=False))


STORED = ["nvfp4_plain", "nvidia", "te_rowscaled", "mxfp4", "four_over_six", "quartet2"]


@pytest.mark.parametrize("recipe", STORED + ["tetrajet_v2", "averis", "arcquant", "chon", "metis",
                                             "nvidia_sr_everywhere", "bf16"])
def test_w4a4_has_the_bytes_of_fprop(x, recipe):
    plain = model()
    emulated = nt.emulate(model(), recipe)
    assert isinstance(emulated[0], nt.EmulatedLinear) == (recipe in STORED)
    y = nvfp4.linear_forward(x, plain[0].weight, recipe).y
    if recipe not in ("metis", "nvidia_sr_everywhere"):
        assert torch.equal(emulated[0](x), y + plain[0].bias)
    assert not emulated(x).requires_grad or recipe not in STORED
    assert emulated(x.view(3, 16, 64)).shape == (3, 16, 32)


@pytest.mark.parametrize("recipe", ["nvfp4_plain", "nvidia", "mxfp4"])
def test_w4a16_has_the_bytes_of_the_decoded_weight(x, recipe):
    layer = model()[0]
    emulated = nt.emulate(model(), recipe, weights_only=True)[0]
    operand = nvfp4.recipe_of(recipe).fprop.b
    q = nvfp4.quantize(layer.weight.bfloat16(), operand.dialect, block=operand.block)
    assert torch.equal(emulated.weight, q.dequantize())
    assert torch.equal(emulated(x), nvfp4.linear_forward(x, q.dequantize("bf16"), "bf16").y + layer.bias)


def test_weights_are_quantized_once(x):
    emulated = nt.emulate(model())
    assert not list(emulated.parameters())
    assert emulated.state_dict()["0.packed"].shape == (48, 32)
    other = nt.emulate(torch.nn.Sequential(*(m for m in model())))
    other[0].packed.zero_()
    other.load_state_dict(emulated.state_dict())
    assert torch.equal(other(x), emulated(x))
    emulated[0].packed.zero_()
    assert torch.equal(emulated[0](x), emulated[0].bias.expand(48, 48))


def test_rules_hold(x):
    emulated = nt.emulate(model(), rules={"keep": ["2"]})
    assert isinstance(emulated[0], nt.EmulatedLinear) and emulated[2].recipe.name == "bf16"


def test_schemes_calibrate_on_the_first_batch(x):
    emulated = nt.emulate(model(), "arcquant")[0]
    first = emulated(x)
    emulated(x.flip(1))
    assert torch.equal(emulated(x), first)


def test_w4a16_needs_a_weight_that_is_stored():
    with pytest.raises(ValueError, match="W4A16 by chon: expected"):
        nt.emulate(model(), "chon", weights_only=True)


@pytest.mark.parametrize("weights_only", [False, True])
def test_compiled_without_a_break(x, weights_only):
    emulated = nt.emulate(model(), weights_only=weights_only)
    assert torch.equal(torch.compile(emulated, fullgraph=True, backend="aot_eager")(x), emulated(x))
