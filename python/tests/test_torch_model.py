import json

import numpy as np
import pytest

import nvfp4
from conftest import wide

torch = pytest.importorskip("torch", reason="not run: no torch")
nt = pytest.importorskip("nvfp4.torch")


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.v_proj, self.fc = torch.nn.Linear(32, 32, bias=False), torch.nn.Linear(32, 32)

    def forward(self, x):
        return x + self.fc(torch.nn.functional.gelu(self.v_proj(x)))


class Model(torch.nn.Module):
    def __init__(self, blocks=4):
        super().__init__()
        torch.manual_seed(3)
        self.embed = torch.nn.Embedding(32, 32)
        self.h = torch.nn.ModuleList(Block() for _ in range(blocks))
        self.lm_head = torch.nn.Linear(32, 32, bias=False)
        self.lm_head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.h:
            x = block(x)
        return self.lm_head(x)


def names(model):
    """The recipe of each layer at its step."""
    return {name: m.recipe.name for name, m in model.named_modules() if isinstance(m, nt.Linear)}


def test_recipes_by_block_name_and_step():
    m = nvfp4.model_recipe_of("nvidia", {"first_blocks": 2, "last_blocks": 8, "keep": ["*router*"], "switch_step": 100})

    def at(layer, block, step):
        return m.recipe_at(step, layer, block, 62).name

    assert [at("h.fc1", block, 0) for block in (1, 2, 53, 54)] == ["bf16", "nvidia", "nvidia", "bf16"]
    assert (at("h.router", 9, 0), at("h.fc1", 9, 99), at("h.fc1", 9, 100)) == ("bf16", "nvidia", "bf16")
    switched = nvfp4.model_recipe_of("nvidia", {"switch_step": 100, "switch_forward_only": True}).recipe_at(100)
    assert not switched.fprop.a.dialect and switched.dgrad.a.rounding == "sr"


def test_model_recipes_are_read_and_written(tmp_path):
    m = nvfp4.model_recipe_of("chon", {"last_blocks": 3, "keep": ["*head"], "high_precision": "mxfp4"})
    file = tmp_path / "model.json"
    file.write_text(json.dumps(nvfp4.model_recipe_dict(m)))
    assert nvfp4.model_recipe_of(file).is_equal(m) and nvfp4.model_recipe_of(str(file)).is_equal(m)
    assert nvfp4.model_recipe_dict(m)["recipe"] == "chon"
    own = {**nvfp4.recipe_dict("chon"), "operands": "fp16"}
    assert nvfp4.model_recipe_dict(nvfp4.model_recipe_of(own))["recipe"]["operands"] == "fp16"
    with pytest.raises(nvfp4.FileError, match="no.json"):
        nvfp4.model_recipe_of("no.json")


def test_published_models():
    m = nvfp4.published_model_recipe("nvidia_1.2b", 1000, late_switch=True)
    kept = [[b for b in range(20) if m.recipe_at(step, "h.fc1", b, 20).name == "bf16"] for step in (819, 820)]
    assert kept == [[16, 17, 18, 19], list(range(20))]
    with pytest.raises(ValueError, match="expected one of nvidia_12b, nvidia_8b, nvidia_1.2b"):
        nvfp4.published_model_recipe("nvidia_13b", 1000)
    assert nvfp4.post_qk_protection("chon", "gla").keep == ["*o_proj*", "*gk_proj*"]


def test_convert_keeps_parameters_and_finds_blocks():
    model = Model()
    parameters = dict(model.named_parameters())
    assert nt.convert(model, "nvidia", {"last_blocks": 1, "keep": ["*v_proj", "lm_head"]}, seed=1) is model
    assert all(parameters[name] is p for name, p in model.named_parameters())
    assert model.lm_head.weight is model.embed.weight
    quantized = [name for name, recipe in names(model).items() if recipe == "nvidia"]
    assert quantized == ["h.0.fc", "h.1.fc", "h.2.fc"] and len(names(model)) == 9
    assert len({layer.seed for layer in nt.layers(model)}) == 9


def test_blocks_by_name_and_a_layer_in_two_places():
    shared = torch.nn.Linear(32, 32)
    model = torch.nn.Sequential(shared, torch.nn.Sequential(torch.nn.Linear(32, 32), shared))
    nt.convert(model, "nvidia", {"first_blocks": 1}, blocks="")
    assert model[0] is model[1][1] and names(model) == {"0": "bf16", "1.0": "nvidia"}
    assert isinstance(nt.convert(torch.nn.Linear(32, 32)), nt.Linear)


def trained(model, steps, first=0):
    optimizer = torch.optim.SGD(model.parameters(), 0.1, foreach=False)
    optimizer.register_step_post_hook(lambda *_: nt.advance(model))
    for step in range(first, first + steps):
        tokens = torch.from_numpy(np.random.default_rng(step).integers(0, 32, (2, 16)))
        loss = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_the_late_switch():
    model = nt.convert(Model(1), "nvidia", {"switch_step": 2})
    trained(model, 1)
    assert set(names(model).values()) == {"nvidia"}
    trained(model, 1, first=1)
    assert set(names(model).values()) == {"bf16"}
    switched = nt.convert(Model(1), "nvidia", {"switch_step": 0})
    assert trained(switched, 1) == trained(nt.convert(Model(1), "bf16"), 1)


OSCI = nvfp4.OsciReset(period=4, track=2, threshold=0.01)


def test_osci_reset_puts_weights_onto_the_grid():
    layer = nt.Linear(64, 32, recipe="tetrajet_v2", osci_reset=OSCI)
    w = torch.from_numpy(wide(32, 64))
    moved = torch.zeros_like(w), torch.zeros_like(w)
    decoded = nvfp4.quantize(w, "tetrajet_v2").dequantize()
    for step in range(4):
        layer.weight.data.copy_(w)
        layer.advance()
        if step == 3:
            break
        assert torch.equal(layer.weight, w) and len(layer.osci_state) == 5
        after = w * (1 + 0.05 * (-1) ** step)
        now = nvfp4.quantize(after, "tetrajet_v2").dequantize()
        if step < 2:
            moved = moved[0] + (after - w).abs(), moved[1] + (now - decoded).abs()
        w, decoded = after, now
    resets = (moved[0] > 0) & (moved[1] / moved[0] >= OSCI.threshold)
    assert 0 < resets.sum() < w.numel()
    assert torch.equal(layer.weight, torch.where(resets, decoded, w)) and layer.osci_state == ()


@pytest.mark.parametrize("split", [1, 2, 3, 4])
def test_osci_reset_goes_on_where_it_was(split):
    def model():
        return nt.convert(Model(1), "tetrajet_v2", osci_reset=OSCI)

    whole, first, second = model(), model(), model()
    loss = trained(whole, 6)
    trained(first, split)
    second.load_state_dict(first.state_dict())
    assert any("osci_reset.w" in key for key in first.state_dict()) == (split != 4)
    assert trained(second, 6 - split, first=split) == loss
    states = zip(whole.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)
