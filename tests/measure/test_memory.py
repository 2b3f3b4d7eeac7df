"""What a training step holds: the prediction from shapes against a real step."""

from dataclasses import astuple

import pytest
import torch
from torch import nn

from lora_teach import LoRAModel
from lora_teach.bases.name_gpt import NameGPT
from lora_teach.measure.architectures import build
from lora_teach.measure.costs import QUERY_VALUE, SETTINGS, SIZES, compare_memory, new_base, random_batch
from lora_teach.measure.held import Saved, checkpointed, measure_memory
from lora_teach.measure.memory import Memory, predict_kept, predict_memory, readable
from lora_teach.measure.results import load_result

transformers = pytest.importorskip("transformers")

CASES = [
    pytest.param(base, *size, marks=[pytest.mark.smollm2] if base == "SmolLM2-135M" else [])
    for base, sizes in SIZES.items()
    for size in sizes
]
EXACT = ("weights", "adapters", "gradients", "optimiser")


@pytest.fixture(scope="module")
def bases():
    """The bases that were asked for, each made once."""
    made = {}
    yield lambda name: made[name] if name in made else made.setdefault(name, new_base(name))
    made.clear()


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("name", "batch_size", "seq_len"), CASES)
def test_a_step_holds_what_was_predicted(bases, name, batch_size, seq_len, setting):
    predicted, measured = compare_memory(bases(name), batch_size, seq_len, setting)
    for field in EXACT:
        assert getattr(predicted, field) == getattr(measured, field), field
    assert predicted.activations == pytest.approx(measured.activations, rel=0.02)
    assert predicted.total == pytest.approx(measured.total, rel=0.02)


@pytest.mark.parametrize("setting", ["full", "q v r4", "all linear r8, checkpointed"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_other_dtypes_hold_what_was_predicted(setting, dtype):
    for name in ("NameGPT", "tiny Llama"):
        predicted, measured = compare_memory(new_base(name, dtype), 8, 16, setting)
        assert [getattr(predicted, field) for field in EXACT] == [getattr(measured, field) for field in EXACT]
        assert predicted.activations == pytest.approx(measured.activations, rel=0.02), name


@pytest.mark.parametrize("targets", [["o_proj"], ["down_proj"], ["lm_head"], ["layers.2.mlp.up_proj"]], ids=str)
def test_what_lies_before_the_first_adapter_keeps_nothing(targets):
    base = new_base("tiny Llama")
    predicted = predict_memory(base, 4, 20, rank=2, target_modules=targets)
    batch, _ = random_batch(base, 4, 20)
    measured = measure_memory(LoRAModel(base, rank=2, target_modules=targets), batch)
    assert predicted.activations == pytest.approx(measured.activations, rel=0.01)


def test_qwen2_keeps_what_llama_keeps():
    config = transformers.Qwen2Config(**new_base("tiny Llama").config.to_diff_dict() | {"model_type": "qwen2"})
    base = transformers.Qwen2ForCausalLM(config)
    assert base.model.layers[0].self_attn.q_proj.bias is not None
    batch, _ = random_batch(base, 3, 40)
    predicted, measured = predict_memory(base, 3, 40), measure_memory(base, batch)
    assert predicted.weights == measured.weights
    assert predicted.activations == pytest.approx(measured.activations, rel=0.01)


@pytest.mark.parametrize("options", SETTINGS.values(), ids=list(SETTINGS))
def test_opt_holds_what_was_predicted(options):
    base = opt()
    predicted = predict_memory(base, 3, 20, **options)
    adapted = {key: value for key, value in options.items() if key != "checkpointing"}
    batch, _ = random_batch(base, 3, 20)
    model = LoRAModel(base, **adapted) if adapted else base
    measured = measure_memory(model, batch, checkpointing="checkpointing" in options)
    assert [getattr(predicted, field) for field in EXACT] == [getattr(measured, field) for field in EXACT]
    assert predicted.activations == pytest.approx(measured.activations, rel=0.01)


def opt(**changes):
    sizes = {"vocab_size": 100, "hidden_size": 48, "word_embed_proj_dim": 48, "ffn_dim": 80, "num_hidden_layers": 3}
    sizes |= {"num_attention_heads": 4, "max_position_embeddings": 64, "dropout": 0.0}
    return transformers.OPTForCausalLM(transformers.OPTConfig(**sizes | changes))


@pytest.mark.parametrize("optimizer", ["adamw", "momentum", "sgd"])
def test_each_optimisers_state_is_exact(optimizer):
    base = new_base("tiny Llama")
    batch, _ = random_batch(base, 2, 8)
    assert (
        predict_memory(base, 2, 8, optimizer=optimizer).optimiser
        == measure_memory(base, batch, None, optimizer).optimiser
    )
    model = LoRAModel(base, rank=4)
    predicted = predict_memory(base, 2, 8, rank=4, optimizer=optimizer)
    assert predicted.optimiser == measure_memory(model, batch, optimizer=optimizer).optimiser


# The measurement, against what can be counted by hand.


def test_a_measured_step_is_what_the_hand_counts():
    model = nn.Sequential(nn.Linear(10, 20), nn.GELU(), nn.Linear(20, 3))
    x, y = torch.zeros(7, 10), torch.zeros(7, 3)
    measured = measure_memory(model, (x, y), nn.functional.mse_loss)
    weights = 4 * (10 * 20 + 20 + 20 * 3 + 3)
    assert (measured.weights, measured.gradients, measured.adapters) == (weights, weights, 0)
    assert measured.optimiser == 2 * weights + 4 * 4  # two numbers for each, and a count for each of four tensors
    # The first layer's input, the GELU's input, the second layer's input; of the loss the output and the target.
    assert measured.activations == 4 * 7 * (10 + 20 + 20 + 3 + 3)


def test_a_storage_counts_once_and_a_parameter_never():
    x = torch.ones(5, requires_grad=True)
    weight = nn.Parameter(torch.ones(5))
    saved = Saved([weight])
    with saved.watching():
        y = x * weight  # keeps both
        z = y.exp() * y.view(5, 1).squeeze(1)  # keeps exp(y), for two reasons, and y, as a view
    assert saved.now == saved.peak == 3 * 5 * 4
    z.sum().backward()
    del z, y
    assert (saved.now, saved.peak) == (0, 3 * 5 * 4)


def test_measuring_leaves_the_model_as_it_was():
    base = NameGPT()
    model = LoRAModel(base, rank=2)
    model.trainable_parameters()[0].grad = gradient = torch.ones_like(model.trainable_parameters()[0])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch, loss_fn = random_batch(base, 3, 5)
    state = torch.random.get_rng_state()
    measure_memory(model, batch, loss_fn, checkpointing=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.trainable_parameters()[0].grad is gradient
    assert all(parameter.grad is None for parameter in model.trainable_parameters()[1:])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["NameGPT", "tiny Llama"])
def test_a_checkpointed_step_makes_the_same_gradients(name, reentrant):
    base = new_base(name)
    model = LoRAModel(base, rank=2)
    with torch.no_grad():
        for layer in model.lora_layers.values():
            layer.lora_B.normal_(generator=torch.Generator().manual_seed(0))
    batch, loss_fn = random_batch(base, 3, 9)

    def gradients():
        loss = loss_fn(model(batch[0]), batch[1]) if loss_fn else model(**batch).loss
        return torch.autograd.grad(loss, model.trainable_parameters())

    plain = gradients()
    runs = []
    handles = [layer.register_forward_hook(lambda *_: runs.append(1)) for layer in model.lora_layers.values()]
    if reentrant:  # torch.autograd.grad doesn't go with that form
        with checkpointed(model, reentrant=True):
            (loss_fn(model(batch[0]), batch[1]) if loss_fn else model(**batch).loss).backward()
        again = [parameter.grad for parameter in model.trainable_parameters()]
    else:
        with checkpointed(model):
            again = gradients()
    for handle in handles:
        handle.remove()
    assert len(runs) > 1.5 * len(handles)  # computed a second time
    assert all(torch.allclose(left, right, rtol=1e-4, atol=1e-6) for left, right in zip(plain, again, strict=True))


def test_nothing_to_measure_is_an_error():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        measure_memory(model, (torch.zeros(1, 2), torch.zeros(1, 2)), nn.functional.mse_loss)
    with pytest.raises(ValueError, match="no nn.ModuleList"):
        measure_memory(
            nn.Linear(2, 2), (torch.zeros(1, 2), torch.zeros(1, 2)), nn.functional.mse_loss, checkpointing=True
        )
    with pytest.raises(ValueError, match="optimizer='adam' is not known. Use one of adamw"):
        measure_memory(nn.Linear(2, 2), (torch.zeros(1, 2), torch.zeros(1, 2)), nn.functional.mse_loss, "adam")


# The prediction.


def llama_8b():
    config = transformers.LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, vocab_size=128256,
    )  # fmt: skip
    with torch.device("meta"):
        return transformers.LlamaForCausalLM(config).bfloat16()


def test_a_model_that_fits_nowhere_is_predicted_on_the_meta_device():
    full = predict_memory(llama_8b(), 1, 2048)
    lora = predict_memory(llama_8b(), 1, 2048, rank=8, target_modules=QUERY_VALUE)
    parameters = 8_030_261_248
    assert full.weights == pytest.approx(2 * parameters, rel=1e-6)
    assert full.gradients == 2 * parameters and full.optimiser == pytest.approx(4 * parameters, rel=1e-6)
    assert lora.adapters == 4 * 8 * 32 * (4096 + 4096 + 4096 + 1024)  # in float32
    assert lora.activations > 0.6 * full.activations


def test_gpt3_is_predicted_as_a_wide_name_gpt():
    with torch.device("meta"):
        model = NameGPT(vocabulary=50257, width=12288, layers=96, heads=96, max_length=2048)
    full, lora = predict_memory(model, 1, 2048), predict_memory(model, 1, 2048, rank=4, target_modules=QUERY_VALUE)
    assert full.gradients == 4 * sum(parameter.numel() for parameter in model.parameters())
    assert lora.gradients == lora.adapters == 4 * 18_874_368  # Hu et al. 2021, section 4.2 and table 4


def test_the_file_holds_what_is_predicted_today_and_measurements_close_to_it():
    table = load_result("memory")["results"]["memory"]
    assert set(table) == set(SIZES)
    for name, sizes in table.items():
        shapes = build("SmolLM2-135M") if name == "SmolLM2-135M" else new_base(name)
        for size, rows in sizes.items():
            assert list(rows) == list(SETTINGS)
            for setting, row in rows.items():
                predicted = predict_memory(shapes, *map(int, size.split(" × ")), **SETTINGS[setting])
                assert row["predicted"][1:] == list(astuple(predicted))[1:], (name, size, setting)
                assert row["predicted"][0] == pytest.approx(predicted.weights, rel=1e-5)  # buffers of the shapes' own
                assert sum(row["predicted"]) == pytest.approx(sum(row["measured"]), rel=0.02)
                assert row["predicted"][-1] == pytest.approx(row["measured"][-1], rel=0.02)


def test_the_log_probabilities_are_kept_for_the_whole_vocabulary():
    base = new_base("tiny Llama")
    assert predict_kept(base, 3, 40, rank=2)["log-probabilities"] == 3 * 40 * 100 * 4
    config = transformers.LlamaConfig(**base.config.to_diff_dict() | {"vocab_size": 10 * 100})
    wide = transformers.LlamaForCausalLM(config)
    grown = predict_memory(wide, 3, 40, rank=2, target_modules=QUERY_VALUE).activations
    assert grown - predict_memory(base, 3, 40, rank=2, target_modules=QUERY_VALUE).activations == 3 * 40 * 900 * 4


def test_the_kinds_add_up_to_the_activations():
    base = new_base("tiny Llama")
    for options in SETTINGS.values():
        assert sum(predict_kept(base, 3, 40, **options).values()) == predict_memory(base, 3, 40, **options).activations
    kinds = predict_kept(base, 3, 40, **SETTINGS["all linear r8, checkpointed"])
    assert kinds["inputs of blocks"] == 3 * (3 * 40 * 48 * 4)


def test_a_linear_layer_keeps_its_input_only_for_a_weight_or_an_adapter():
    base = new_base("tiny Llama")
    kept = predict_kept(base, 3, 40, rank=2, target_modules=QUERY_VALUE)
    assert kept["inputs of linear layers"] == 3 * (3 * 40 * 48 * 4)  # q and v share theirs
    assert kept["adapters"] == 3 * 2 * (3 * 40 * 2 * 4)
    assert "adapters" not in predict_kept(base, 3, 40)


def test_attention_grows_with_the_tokens_and_not_with_their_square():
    base = new_base("tiny Llama")
    short, long = (predict_kept(base, 1, seq)["attention"] for seq in (16, 64))
    assert long == 4 * short


def test_the_total_is_the_sum_and_prints_as_a_table():
    memory = Memory(weights=4_000_000, adapters=1_000_000, gradients=2_000_000, optimiser=3_000_000, activations=0)
    assert memory.total == 10_000_000
    lines = str(memory).splitlines()
    assert [line.split() for line in (lines[0], lines[-1])] == [
        ["weights", "4.00", "MB", "40%"],
        ["total", "10.0", "MB", "100%"],
    ]
    assert len({len(line) for line in lines}) == 1
    assert readable(999) == "999 B" and readable(2_000) == "2.00 kB"


def test_what_no_rule_is_known_for_is_an_error():
    base = new_base("tiny Llama")
    with pytest.raises(TypeError, match="what a Sequential keeps.*NameGPT and .*Llama.*OPT.*measure_memory"):
        predict_memory(nn.Sequential(nn.Linear(3, 3)), 1, 1)
    with pytest.raises(TypeError, match="is a LoRAModel. Give its base"):
        predict_memory(LoRAModel(NameGPT()), 1, 1)
    with pytest.raises(ValueError, match="target_modules=.* without a rank"):
        predict_memory(base, 1, 1, target_modules=QUERY_VALUE)
    with pytest.raises(ValueError, match="longer than the model's 17 positions"):
        predict_memory(NameGPT(), 1, 18)
    with pytest.raises(ValueError, match="an adapter beside 'position', a Embedding"):
        predict_memory(NameGPT(), 1, 4, rank=2, target_modules=["position"])
    with pytest.raises(ValueError, match="optimizer"):
        predict_memory(base, 1, 1, optimizer="lion")
    with pytest.raises(ValueError, match="batch_size"):
        predict_memory(base, 0, 1)
    with pytest.raises(ValueError, match="dropout 0.1: .*dropout=0.0, attention_dropout=0.0"):
        predict_memory(opt(dropout=0.1).train(), 1, 4)
    assert predict_memory(opt(dropout=0.1).eval(), 1, 4) == predict_memory(opt(), 1, 4)
    with pytest.raises(ValueError, match="350M"):
        predict_memory(opt(do_layer_norm_before=False), 1, 4)
    for change in ({"attn_implementation": "eager"}, {"attention_dropout": 0.1}, {"hidden_act": "gelu"}):
        config = transformers.LlamaConfig(**base.config.to_diff_dict() | change)
        with pytest.raises(ValueError, match="eager|dropout 0.1|gelu"):
            predict_memory(transformers.LlamaForCausalLM(config).train(), 1, 4)
