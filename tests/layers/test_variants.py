"""A variant is one file: one made here trains, merges, is saved, read, counted and checked as the others are."""

import copy
import warnings
from pathlib import Path

import lora_teach
from lora_teach import LoRAModel, train
from lora_teach.doctor import diagnose
from lora_teach.doctor.folder import diagnose_folder
from lora_teach.layer import VARIANTS, LoRALayer, register_variant
from lora_teach.layers.loraplus import loraplus_groups
from lora_teach.measure import measure_memory, predict_memory
from lora_teach.peft_format.xray import lint, xray
from tests.test_architectures import close, gpt2, llama, make
from tests.tiny_language_model import tiny_model
from tests.toy import bits, mlp, numbers, pairs, same_bits

import pytest
import torch
from torch import nn

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
LOSS = nn.functional.mse_loss
PLAIN = ("lora", "pissa", "lora_fa")  # what PEFT reads without a flag


@pytest.fixture
def gated():
    """The variant of this file: each output feature of the update has a gate of its own, which starts at 1."""

    @register_variant("gated")
    class GatedLayer(LoRALayer):
        label, mixes, in_peft = "Gated LoRA", False, False
        file_keys = LoRALayer.file_keys | {".lora_gate": "gate"}
        filed = (*LoRALayer.filed, "gate")
        note = "ΔW is shown without its gates."

        def __init__(self, in_features, out_features, *args, **options):
            super().__init__(in_features, out_features, *args, **options)
            self.gate = nn.Parameter(torch.ones_like(self.lora_B[0]))  # (out_features,)

        def forward(self, x):
            return super().forward(x) * self.gate.to(x.dtype)

        def delta_weight(self):
            return self.gate[:, None] * super().delta_weight()

        def file_parts(self):
            return super().file_parts() | {"gate": self.gate}

    yield GatedLayer
    del VARIANTS["gated"]


def fit(model, steps=6, **options):
    history = train(model, pairs(), LOSS, lr=3e-2, steps=steps, progress=False, **options)
    assert history.loss[-1] < history.loss[0]
    return model


@pytest.fixture(params=["gated", *VARIANTS])
def variant(request, gated):
    return request.param


def test_it_trains_and_the_base_does_not(variant):
    model = LoRAModel(mlp(), variant=variant)
    before = bits(model)
    fit(model)
    frozen = {name for name, _ in model.adapters.named_buffers()}
    frozen |= {name for name, p in model.adapters.named_parameters() if not p.requires_grad}
    moved = {name for name, value in bits(model).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("adapters.")} - {f"adapters.{name}" for name in frozen}


def test_merged_equals_unmerged_after_training_and_undoing_restores_every_bit(variant):
    model, x = fit(LoRAModel(mlp(), variant=variant)), numbers(5, 6)
    before, output = bits(model.base_model), model(x)
    with model.merged():
        assert (model(x) - output).abs().max() <= 1e-5 * output.abs().max()
    assert same_bits(before, bits(model.base_model)) and torch.equal(model(x), output)
    with model.disabled():
        assert torch.equal(model(x), mlp()(x))
    merged = copy.deepcopy(model).remove(merge=True)
    assert (merged(x) - output).abs().max() <= 1e-5 * output.abs().max()


def test_a_saved_one_is_read_to_the_last_bit_and_trains_on_as_it_would_have(variant, tmp_path):
    model, x = fit(LoRAModel(mlp(), variant=variant, rank=2, alpha=3, modules_to_save=["2"])), numbers(5, 6)
    model.save_adapter(tmp_path)
    again = LoRAModel.from_pretrained(mlp(), tmp_path)
    assert same_bits(bits(model), bits(again)) and torch.equal(model(x), again(x))
    assert again.configs["default"].variant == variant
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]
    fit(model)
    fit(again)
    assert same_bits(bits(model), bits(again))
    again.load_adapter(tmp_path, "second")
    assert same_bits(bits(LoRAModel.from_pretrained(mlp(), tmp_path).lora_layers), bits(again.adapters["second"]))


def test_it_is_counted_by_its_numbers(variant):
    model = LoRAModel(mlp(), variant=variant, rank=2)
    factors = {"lora_fa": 2 * (8 + 4)}.get(variant, 2 * (6 + 8) + 2 * (8 + 4))
    more = 8 + 4 if variant in ("gated", "dora") else 0
    assert model.count()[0] == factors + more
    assert sum(p.numel() for group in loraplus_groups(model, 1e-3) for p in group["params"]) == factors + more


def test_lint_and_xray_ask_the_layer(variant, tmp_path):
    fit(LoRAModel(mlp(), variant=variant, rank=2)).save_adapter(tmp_path)
    found = [departure.what for departure in lint(tmp_path)]
    if variant == "gated":
        assert "PEFT doesn't know Gated LoRA, and reads plain LoRA, or nothing." in found
        assert any("lora_gate' is no key of PEFT's format" in what for what in found)
    else:
        assert found == []
    seen = xray(tmp_path, mlp())
    label = next(iter(VARIANTS[variant].values())).label
    assert (seen.variant, len(seen.layers)) == (variant, 2) and str(seen).startswith(f"{label} adapter in")
    assert VARIANTS[variant]["Linear"].note in str(seen)


@pytest.mark.parametrize("variant", PLAIN)
def test_peft_reads_what_needs_no_flag(variant, tmp_path):
    model, x = fit(LoRAModel(mlp(), variant=variant, rank=2, alpha=3, scaling="alpha/sqrt(r)")), numbers(5, 6)
    model.save_adapter(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert close(peft.PeftModel.from_pretrained(mlp(), tmp_path).eval()(x), model(x), torch.float32)


def test_the_doctor_finds_nothing_before_and_after_training(variant):
    model, batch = LoRAModel(mlp(), variant=variant), pairs()[0]
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=1e-3, weight_decay=0.0)
    diagnosis = diagnose(model, optimizer, batch, LOSS)
    assert diagnosis.ok, diagnosis
    train(model, pairs(), LOSS, steps=5, optimizer=optimizer, progress=False)
    diagnosis = diagnose(model, optimizer, batch, LOSS)
    assert diagnosis.ok, diagnosis


@pytest.mark.parametrize("variant", PLAIN)
def test_the_doctor_says_of_a_file_and_a_model_that_nothing_was_trained(variant, tmp_path):
    model = LoRAModel(mlp(), variant=variant, rank=2)
    model.save_adapter(tmp_path)
    assert [one.fault for one in diagnose_folder(tmp_path).findings] == ["adapter_is_noop"]
    found = [one.fault for one in diagnose(model, history=[1.0, 1.0, 1.0]).findings]
    assert "adapter_is_noop" in found


def test_memory_is_predicted(gated):
    base = tiny_model()
    batch = {"input_ids": torch.zeros(2, 9, dtype=torch.int64), "labels": torch.zeros(2, 9, dtype=torch.int64)}
    predicted = predict_memory(base, 2, 9, rank=2, variant="gated")
    assert predicted == measure_memory(LoRAModel(base, rank=2, variant="gated"), batch)


def test_a_checkpoint_keeps_what_an_adapter_freezes(variant, tmp_path):
    whole = fit(LoRAModel(mlp(), variant=variant), steps=4, checkpoint=tmp_path)
    torch.manual_seed(5)  # another A is drawn
    resumed = LoRAModel(mlp(), variant=variant)
    train(resumed, pairs(), LOSS, lr=3e-2, steps=4, progress=False, checkpoint=tmp_path)
    assert same_bits(bits(whole), bits(resumed))


def test_what_is_not_registered_here_is_not_read_as_plain_lora(gated, tmp_path):
    LoRAModel(mlp(), variant="gated").save_adapter(tmp_path)
    kept = VARIANTS.pop("gated")
    try:
        with pytest.raises(ValueError, match="saved as variant 'gated', which is not registered here. Import the file"):
            LoRAModel.from_pretrained(mlp(), tmp_path)
        assert any("not registered here" in departure.what for departure in lint(tmp_path))
    finally:
        VARIANTS["gated"] = kept


def test_parts_without_their_mark_are_not_read_as_plain_lora(gated, tmp_path):
    from safetensors.torch import load_file, save_file

    LoRAModel(mlp(), variant="gated").save_adapter(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    save_file(load_file(file), file, {"format": "pt"})
    with pytest.raises(ValueError, match="Gated LoRA's .*does not say lora_teach.variant='gated' in its metadata"):
        LoRAModel.from_pretrained(mlp(), tmp_path)


def test_several_variants_in_one_adapter_are_not_saved(tmp_path):
    model = LoRAModel(mlp())
    model.lora_layers["2"] = LoRAModel(mlp(), variant="lora_fa").lora_layers["2"]
    with pytest.raises(ValueError, match="some layers are LoRA-FA and others are not"):
        model.save_adapter(tmp_path)


def test_the_files_of_the_folder_are_found_by_themselves():
    folder = Path(lora_teach.layers.__file__).parent
    marked = [path.stem for path in folder.glob("*.py") if "@register_variant(" in path.read_text("utf-8")]
    found = {one.__module__.rpartition(".")[2] for kinds in VARIANTS.values() for one in kinds.values()}
    assert set(marked) == found - {"layer", "test_variants"}
    names = [name for name in VARIANTS if name != "lora"]
    for path in folder.parent.rglob("*.py"):
        text = path.read_text("utf-8")
        for name in names:
            assert path.parent == folder or f'== "{name}"' not in text, f"{path} asks for the variant {name!r} by name"


# What is about two lines each, and rsLoRA.


def test_lora_fa_freezes_a_and_keeps_less_for_the_backward():
    base, batch = make(llama, torch.float32)
    kept = [measure_memory(LoRAModel(copy.deepcopy(base), variant=v), batch) for v in ("lora", "lora_fa")]
    assert kept[1].activations < kept[0].activations and kept[1].gradients < kept[0].gradients
    model = LoRAModel(mlp(), variant="lora_fa")
    assert [layer.lora_A.requires_grad for layer in model.lora_layers.values()] == [False, False]
    model.set_adapter(None)
    model.set_adapter("default")
    assert [name.rpartition(".")[2] for name, p in model.named_parameters() if p.requires_grad] == ["lora_B"] * 2
    with pytest.raises(ValueError, match="0: init='uniform_B' starts A at zero.*Use 'uniform'"):
        LoRAModel(mlp(), variant="lora_fa", init="uniform_B")


def test_uniform_b_trains_a_first():
    model = LoRAModel(mlp(), init="uniform_B")
    LOSS(model(pairs()[0][0]), pairs()[0][1]).backward()
    assert all(one.lora_A.grad.any() and not one.lora_B.grad.any() for one in model.lora_layers.values())


@pytest.mark.parametrize("maker", [llama, gpt2], ids=lambda maker: maker.__name__)
def test_rslora_equals_pefts_after_training(maker):
    base, batch = make(maker, torch.float32)
    model = LoRAModel(base, alpha=6, scaling="alpha/sqrt(r)")
    config = peft.LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=list(model.lora_layers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.get_peft_model(make(maker, torch.float32)[0], config).eval()
    theirs = {name: twin.base_model.model.get_submodule(name) for name in model.lora_layers}
    with torch.no_grad():
        for name, layer in model.lora_layers.items():
            theirs[name].lora_A["default"].weight.copy_(layer.lora_A.T)
    for one in (model, twin):  # plain gradient descent, in which nothing amplifies rounding
        optimizer = torch.optim.SGD([p for p in one.parameters() if p.requires_grad], lr=0.3)
        for _ in range(4):
            optimizer.zero_grad()
            one(**batch).loss.backward()
            optimizer.step()
    ours, expected = model(**batch), twin(**batch)
    assert close(ours.logits, expected.logits, torch.float32)
    assert not close(ours.logits, make(maker, torch.float32)[0](**batch).logits, torch.float32)
    for one in (model, twin):
        one.zero_grad()
    ours.loss.backward()
    expected.loss.backward()
    for name, layer in model.lora_layers.items():
        assert close(layer.lora_A.grad.T, theirs[name].lora_A["default"].weight.grad, torch.float32)
        assert close(layer.lora_B.grad.T, theirs[name].lora_B["default"].weight.grad, torch.float32)
    output = model(**batch).logits
    with torch.no_grad(), model.merged():
        assert close(model(**batch).logits, output, torch.float32)
