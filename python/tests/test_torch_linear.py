import copy
import pickle

import numpy as np
import pytest

import nvfp4
from conftest import wide

torch = pytest.importorskip("torch", reason="not run: no torch")
nt = pytest.importorskip("nvfp4.torch")

RECIPES = [r["name"] for r in nvfp4.recipes()]
SEED = 2**63 + 7


def patched_backward():
    """CHON, its patch in dgrad too."""
    recipe = nvfp4.recipe_dict("chon")
    return {**recipe, "name": "patched", "dgrad": {**recipe["dgrad"], "scheme": recipe["fprop"]["scheme"]}}


@pytest.fixture
def step():
    x, w, dy = wide(48, 64, 1), wide(32, 64, 2) / 64, wide(48, 32, 3)
    return tuple(map(torch.from_numpy, (x, w, dy)))


def gradients(y_of, x, w, dy):
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    y = y_of(x, w)
    y.backward(dy)
    return y.detach(), x.grad, w.grad


def same(made, expected):
    return all(m.numpy().tobytes() == e.numpy().tobytes() for m, e in zip(made, expected, strict=True))


@pytest.mark.parametrize("recipe", RECIPES)
def test_bytes_of_every_recipe(step, recipe):
    made = gradients(lambda x, w: nt.linear(x, w, recipe=recipe, seed=SEED), *step)
    assert same(made, nvfp4.linear(*step, recipe, seed=SEED))


@pytest.mark.parametrize("recipe", ["nvidia", "chon", "averis", "mxfp4", "tetrajet_v2_outcontrol", "quartet2"])
def test_bytes_of_the_program(step, recipe, program, tmp_path):
    layer = nt.Linear(64, 32, bias=False, recipe=recipe, seed=5, layer=3)
    layer.weight.data.copy_(step[1])
    layer.set_step(11)
    for name, array in zip(("x", "w", "dy"), step):
        np.save(tmp_path / f"{name}.npy", array.numpy())
    x = step[0].clone().requires_grad_()
    y = layer(x)
    y.backward(step[2])
    program("linear", *(part for name in ("x", "w", "dy") for part in (f"--{name}", tmp_path / f"{name}.npy")), "-o",
            tmp_path / "out.npz", "--recipe", recipe, "--seed", layer.seed)
    expected = np.load(tmp_path / "out.npz")
    assert same((y.detach(), x.grad, layer.weight.grad), [torch.from_numpy(expected[n]) for n in ("y", "dx", "dw")])


@pytest.mark.parametrize("recipe, block, rht", [("nvfp4_plain", "1x16", 0), ("nvidia_no_sr", "16x16", 16)])
def test_gradients_are_what_the_recipe_says(step, recipe, block, rht):
    x, w, dy = (m.bfloat16() for m in step)
    made = gradients(lambda x, w: nt.linear(x, w, recipe=recipe), *step)
    y = nvfp4.gemm(nvfp4.quantize(x), nvfp4.quantize(w, block=block))
    dx = nvfp4.gemm(nvfp4.quantize(dy), nvfp4.quantize(w, block=block, transpose=True))
    dw = nvfp4.gemm(nvfp4.quantize(dy, transpose=True, rht=rht), nvfp4.quantize(x, transpose=True, rht=rht))
    assert same(made, (y, dx, dw))


def test_bf16_is_near_the_exact_product(step):
    """Sums of 64 products of BF16 numbers, cut to 24 bits or more at the largest one."""
    x, w, dy = (m.bfloat16().double() for m in step)
    made = gradients(lambda x, w: nt.linear(x, w, recipe="bf16"), *step)
    exact = (x @ w.T, dy @ w, dy.T @ x)
    sums = (x.abs() @ w.abs().T, dy.abs() @ w.abs(), dy.abs().T @ x.abs())
    for m, e, s in zip(made, exact, sums):
        assert bool(((m.double() - e).abs() <= 64 * 2.0**-23 * s).all())


def test_leading_dimensions_bias_and_types(step):
    x, w, _ = step
    y, bias = nvfp4.linear(x, w).y, torch.arange(32.0)
    assert torch.equal(nt.linear(x.view(3, 16, 64), w, bias), (y + bias).view(3, 16, 32))
    assert torch.equal(nt.linear(x[0], w), nvfp4.linear(x[:1], w).y[0])
    half = nt.linear(x.bfloat16(), w, bias)
    assert half.dtype == torch.bfloat16 and torch.equal(half, (y + bias).bfloat16())
    x, w, bias = x.bfloat16().requires_grad_(), w.clone().requires_grad_(), bias.requires_grad_()
    nt.linear(x, w, bias).sum().backward()
    assert (x.grad.dtype, w.grad.dtype, bias.grad.tolist()) == (torch.bfloat16, torch.float32, [48.0] * 32)


def test_only_gradients_that_are_asked_for(step):
    x, w, dy = step
    w = w.clone().requires_grad_()
    nt.linear(x, w).backward(dy)
    assert torch.equal(w.grad, nvfp4.linear_backward(x, w, dy, dx=False).dw)


def test_no_tokens(step):
    x, w = torch.empty(0, 64, requires_grad=True), step[1].clone().requires_grad_()
    y = nt.linear(x, w)
    y.sum().backward()
    assert y.shape == (0, 32) and x.grad.shape == (0, 64) and not w.grad.any()


def test_a_layer_is_copied_pickled_and_checkpointed(step):
    layer = layer_of("chon", osci_reset=nvfp4.OsciReset(period=9, track=2))
    x, once = step[0].clone().requires_grad_(), step[0].clone().requires_grad_()
    torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False).sum().backward()
    layer(once).sum().backward()
    assert torch.equal(x.grad, once.grad)
    layer.advance()
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert equal(copied.state_dict(), layer.state_dict()) and copied.osci_reset.period == 9


def test_refusals(step):
    with pytest.raises(ValueError, match="found torch.float64"):
        nt.linear(step[0].double(), step[1])
    with pytest.raises(ValueError, match="recipe 'nope'"):
        nt.linear(*step[:2], recipe="nope")
    with pytest.raises(ValueError, match="seed: expected 0 to"):
        nt.linear(*step[:2], seed=-1)
    with pytest.raises(ValueError, match="rules: expected fields of"):
        nvfp4.model_recipe_of("nvidia", {"firstblocks": 1})


def trained(layer, steps, first=0, compiled=False):
    """The layer after that many steps of data that depend on the step alone; the last loss."""
    call = torch.compile(layer, fullgraph=True, backend="aot_eager") if compiled else layer
    optimizer = torch.optim.Adam(layer.parameters(), 0.01)
    for step in range(first, first + steps):
        x = torch.from_numpy(wide(48, layer.in_features, step)).requires_grad_()
        loss = call(x).float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        layer.advance()
    return loss.item(), {key: value.clone() for key, value in layer.state_dict().items()}


def layer_of(recipe, **options):
    torch.manual_seed(4)
    return nt.Linear(64, 32, recipe=recipe, seed=9, layer=2, **options)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("recipe", ["nvidia", "chon", "tetrajet_v2_outcontrol", patched_backward()],
                         ids=lambda r: r if isinstance(r, str) else r["name"])
def test_compiled_without_a_break_and_with_the_same_bytes(recipe):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    loss, state = trained(layer_of(recipe), 3)
    made_loss, made = trained(layer_of(recipe), 3, compiled=True)
    assert made_loss == loss and equal(made, state)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


def test_the_function_compiles():
    def gelu(x, w):
        return torch.nn.functional.gelu(nt.linear(x, w, recipe="nvidia", seed=3))

    x, w = torch.from_numpy(wide(16, 32)), torch.from_numpy(wide(16, 32, 1))
    assert torch.equal(torch.compile(gelu, fullgraph=True, backend="aot_eager")(x, w), gelu(x, w))


@pytest.mark.parametrize("recipe", ["nvidia", "chon"])
def test_operators_are_as_torch_expects(recipe):
    layer = layer_of(recipe)
    x = torch.from_numpy(wide(8, 64)).requires_grad_()
    torch.library.opcheck(torch.ops.nvfp4.linear_forward.default,
                          (x, layer.weight, layer.clock, layer.kept, layer.plan, True))


def test_seeds_depend_on_seed_layer_and_step():
    seeds = {nt.draw(seed, layer, step) for seed in (0, 1) for layer in (0, 1) for step in (0, 1)}
    assert len(seeds) == 8 and max(seeds) < 2**64
    # Random123's known answer for the digits of pi.
    assert nt.draw(0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88) == 0x94FDCCEB_D16CFE09
    layer = layer_of("nvidia")
    assert layer.seed == nt.draw(9, 2, 0)
    layer.advance()
    assert (layer.step, layer.seed) == (1, nt.draw(9, 2, 1))


def test_a_pass_done_again_gives_the_same_bytes():
    layer, x = layer_of("nvidia_sr_everywhere"), torch.from_numpy(wide(16, 64))
    first = layer(x)
    assert torch.equal(layer(x), first)
    layer.advance()
    assert not torch.equal(layer(x), first)


def short_period(recipe):
    """A recipe of CHON that looks for hot channels every other step."""
    fields = nvfp4.recipe_dict(recipe)
    return {**fields, "fprop": {**fields["fprop"], "scheme": {**fields["fprop"]["scheme"], "period": 2}}}


@pytest.mark.parametrize("recipe", ["nvidia", short_period("chon"), "tetrajet_v2_outcontrol", patched_backward()],
                         ids=lambda r: r if isinstance(r, str) else r["name"])
def test_a_resumed_training_gives_the_same_bytes(recipe):
    whole = layer_of(recipe)
    first, second = trained(whole, 3), trained(whole, 2, first=3)
    resumed = nt.Linear(64, 32, recipe=recipe)
    resumed.load_state_dict(first[1])
    made = trained(resumed, 2, first=3)
    assert made[0] == second[0] and equal(made[1], second[1])


@pytest.mark.parametrize("recipe", [short_period("chon"), "tetrajet_v2_outcontrol", "arcquant", patched_backward()],
                         ids=lambda r: r if isinstance(r, str) else r["name"])
def test_state_is_the_librarys(recipe):
    layer, state = layer_of(recipe, bias=False), None
    for step in range(4):
        x, dy = torch.from_numpy(wide(48, 64, step)), torch.from_numpy(wide(48, 32, 10 + step))
        w = layer.weight.detach().clone()
        state = nvfp4.updated_state(state, step, x, w, dy, recipe, seed=layer.seed)
        expected = nvfp4.linear(x, w, dy, recipe, seed=layer.seed, state=state)
        x.requires_grad_()
        layer.weight.grad = None
        y = layer(x)
        y.backward(dy)
        assert layer.state == state
        assert same((y.detach(), x.grad, layer.weight.grad), expected)
        layer.advance()


def test_evaluation_keeps_what_training_calibrated():
    layer = layer_of(short_period("chon"))
    layer(torch.from_numpy(wide(48, 64)))
    kept = layer.kept.clone()
    layer.eval()(torch.from_numpy(wide(48, 64)[:, ::-1].copy()))
    assert torch.equal(layer.kept, kept)
    layer.train()(torch.from_numpy(wide(48, 64)[:, ::-1].copy()))
    assert not torch.equal(layer.kept, kept)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="not run: no CUDA device")
def test_cuda(step):
    x, w, dy = (m.cuda() for m in step)
    if "gpu" not in nvfp4.devices():
        with pytest.raises(ValueError, match="needs the GPU layer"):
            nt.linear(x, w)
        return
    made = gradients(lambda x, w: nt.linear(x, w), x, w, dy)
    assert same([m.cpu() for m in made], nvfp4.linear(*step))
