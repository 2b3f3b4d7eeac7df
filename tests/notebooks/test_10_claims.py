"""What notebook 10 says without a cell that shows it; and that its solutions solve."""

from lora_teach import LoRALayer, LoRAModel
from lora_teach.bases import NameGPT
from lora_teach.exercises import check_bytes_held, check_count_q_v
from lora_teach.measure.architectures import ARCHITECTURES, build, targets, total_parameters, trainable_per_rank
from lora_teach.measure.flops import layer_flops, predict_flops
from lora_teach.measure.predicted_memory import predict_memory
from lora_teach.measure.published_counts import printed_rows
from lora_teach.pictures.step_cost import step_times
from lora_teach.pictures.step_cost.numbers import WAYS
from tests.notebooks.reading import DETAILS, ROOT, Lesson

import pytest
import torch

LLAMA = "Llama-3.1-8B"


@pytest.fixture(scope="module")
def lesson():
    return Lesson(ROOT / "notebooks" / "10_what_it_costs.ipynb")


def held(name, batch, seq, rank=None, which="all linear", dtype=torch.bfloat16, **options):
    wanted = {} if rank is None else {"rank": rank, "target_modules": targets(name, which)}
    return predict_memory(build(name), batch, seq, dtype=dtype, **wanted, **options)


def test_fourteen_models_from_name_gpt_to_gpt_3_which_is_500_000_times_as_large():
    assert len(ARCHITECTURES) == 14
    assert 4.9e5 < total_parameters("GPT-3 175B") / total_parameters("NameGPT") < 5.2e5


def test_rank_8_on_q_and_v_is_9216_numbers_in_name_gpt():
    assert 8 * trainable_per_rank("NameGPT", "q v") == 9216
    assert LoRAModel(NameGPT(), rank=8, target_modules=["q_proj", "v_proj"]).count()[0] == 9216


def test_rank_64_on_all_layers_is_97_percent_of_name_gpt_and_less_than_1_of_gpt_3():
    assert round(64 * trainable_per_rank("NameGPT", "all linear") / total_parameters("NameGPT"), 2) == 0.97
    assert 64 * trainable_per_rank("GPT-3 175B", "all linear") / total_parameters("GPT-3 175B") < 0.01


def test_a_weight_grows_with_the_square_of_the_width_and_with_the_number_of_layers():
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 4}
    few, many, wide = (
        build(LLAMA, **sizes | {"num_hidden_layers": depth, "hidden_size": width, "intermediate_size": 2 * width}).model
        for depth, width in ((2, 64), (4, 64), (2, 128))
    )

    def numbers(model):
        return sum(p.numel() for name, p in model.layers.named_parameters() if "norm" not in name)

    assert numbers(many) == 2 * numbers(few) and numbers(wide) == 4 * numbers(few)


def test_there_are_22_printed_counts_from_five_sources():
    rows = printed_rows()
    assert len(rows) == 22
    assert len({row.where.partition(",")[0] for row in rows}) == 5


def test_the_last_three_rows_count_a_layer_that_makes_128_256_scores():
    assert all(row.head and row.model == LLAMA for row in printed_rows()[-3:])
    assert tuple(build(LLAMA).lm_head.weight.shape) == (128_256, 4096)


def test_the_model_card_of_the_exercise_is_llamas():
    sizes = ARCHITECTURES["Llama-3.2-3B"].sizes
    assert (sizes["hidden_size"], sizes["num_hidden_layers"]) == (3072, 28)
    assert (sizes["num_attention_heads"], sizes["num_key_value_heads"]) == (24, 8)
    attention = build("Llama-3.2-3B").model.layers[0].self_attn
    assert (attention.q_proj.out_features, attention.v_proj.out_features) == (3072, 1024)


def test_with_few_tokens_lora_saves_three_quarters_and_with_very_many_a_tenth():
    assert 0.25 < held(LLAMA, 1, 128, 8).total / held(LLAMA, 1, 128).total < 0.28
    many = [held("SmolLM2-135M", 32, 2048, rank, dtype=torch.float32).total for rank in (None, 8)]
    assert 0.88 < many[1] / many[0] < 0.92


def test_most_of_what_name_gpt_holds_is_activations_and_lora_saves_little_there():
    full, lora = (predict_memory(NameGPT(), 64, 12, rank=rank) for rank in (None, 8))
    assert full.activations > 0.7 * full.total and lora.total > 0.8 * full.total


def test_lora_keeps_most_of_the_activations():
    for name in ("SmolLM2-135M", "Llama-3.2-1B", LLAMA):
        for which in ("q v", "all linear"):
            assert 0.7 < held(name, 8, 512, 8, which).activations / held(name, 8, 512).activations < 1


def test_a_frozen_linear_layer_keeps_its_weight_and_not_its_input_and_an_adapter_keeps_x():
    layer = torch.nn.Linear(16, 16).requires_grad_(False)
    x = torch.randn(8, 16, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.data_ptr()) or tensor, lambda t: t):
        layer(x)
        assert set(kept) == {layer.weight.data_ptr()}
        LoRALayer(16, 16)(x)
    assert x.data_ptr() in kept
    for name in ("SmolLM2-135M", LLAMA):  # so fewer adapted layers keep less, and what is no linear layer most
        few, every = (held(name, 8, 512, 8, which).activations for which in ("q v", "all linear"))
        assert 0.7 * every < few < every


def test_a_lower_rank_does_not_cure_it_and_checkpointing_does():
    eight, one = held(LLAMA, 32, 2048, 8), held(LLAMA, 32, 2048, 1)
    assert 0.99 < one.total / eight.total <= 1
    assert held(LLAMA, 32, 2048, 8, checkpointing=True).total < 0.2 * eight.total
    assert held(LLAMA, 8, 2048, 8).activations == pytest.approx(eight.activations / 4, rel=0.01)


def test_at_one_precision_the_weights_are_a_quarter_of_all_but_the_activations():
    full = held("GPT-3 175B", 1, 1)
    assert full.weights / (full.total - full.activations) == pytest.approx(1 / 4, rel=1e-3)


def test_the_formula_of_a_layers_time_is_two_thirds_and_a_little():
    width, rank = 4096, 16
    assert layer_flops(width, width, rank) / layer_flops(width, width) == pytest.approx(2 / 3 + 2 * rank / width)


def test_name_gpt_is_96_wide_and_18_layers_are_adapted():
    model = LoRAModel(NameGPT(), rank=8)
    assert len(model.lora_layers) == 18
    assert model.base_model.blocks[0].attention.q_proj.in_features == 96


def test_the_gpu_was_waiting_and_lora_has_more_to_tell_it():
    rows = {(row.model, row.batch): row for row in step_times("all linear r8") if "NVIDIA" in row.device}
    few, more = rows["SmolLM2-135M", "1 × 128"], rows["SmolLM2-135M", "8 × 512"]
    assert 8 * 512 == 4096 and more.milliseconds[0] < 1.25 * few.milliseconds[0]
    assert 1.7 < min(few.time[1], more.time[1]) <= max(few.time[1], more.time[1]) < 2


def test_lora_is_quicker_only_with_8192_tokens_in_the_model_of_a_billion():
    quick = {}
    for way in WAYS:
        for row in step_times(way):
            if row.time[1] < 1 and "NVIDIA" in row.device:
                quick.setdefault(way, {})[row.model, row.batch] = row.time[1]
    assert set(quick["all linear r8"]) == {("Llama-3.2-1B", "8 × 1024"), ("Llama-3.2-1B", "16 × 1024")}
    assert all(0.88 < time < 0.95 for time in quick["all linear r8"].values())
    assert all(0.76 < quick["q v r8"][case] < 0.82 for case in quick["all linear r8"])
    assert all(row.flops < 0.69 for row in step_times("q v r8") if row.model == "Llama-3.2-1B")


def test_on_a_core_smollm2_takes_what_its_flops_say_and_half_with_few_tokens():
    rows = {row.batch: row for row in step_times() if row.device.startswith("CPU") and row.model == "SmolLM2-135M"}
    assert abs(rows["4 × 64"].time[1] - rows["4 × 64"].flops) < 0.03
    assert 0.45 < rows["1 × 64"].time[1] < 0.55


def test_about_a_third_is_the_most_that_a_step_saves():
    for name in ("SmolLM2-135M", LLAMA, "GPT-3 175B"):
        full = predict_flops(build(name), 4, 128).total
        shares = [
            predict_flops(build(name), 4, 128, rank=rank, target_modules=targets(name, which)).total / full
            for rank in (1, 8) for which in ("q v", "all linear")
        ]  # fmt: skip
        assert 0.64 < min(shares) <= max(shares) < 0.70


def test_in_large_models_99_percent_and_more_are_saved():
    for name in list(ARCHITECTURES)[-5:]:
        assert 8 * trainable_per_rank(name, "all linear") < 0.01 * total_parameters(name)


def test_the_folded_solutions_solve_their_exercises(lesson):
    space = {}
    for cell in lesson.cells:
        for block in DETAILS.findall(cell.source) if cell.cell_type == "markdown" else []:
            exec("".join(part.split("```")[0] for part in str(block).split("```python")[1:]), space)
    assert check_count_q_v(space["count_q_v"]).passed
    assert check_bytes_held(space["bytes_held"]).passed
