"""``--quantize``: train and answer over a quantised base."""

import json

from lora_teach import LoRAModel, cli
from lora_teach.bases import load_name_gpt
from lora_teach.bases.quantized import quantize_
from lora_teach.bases.registry import QUANTIZERS, load_base
from tests.toy import bits, same_bits

import pytest

NAMES = ["--base", "names", "--device", "cpu"]


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "names.jsonl"
    file.write_text("".join(json.dumps({"prompt": "ai", "completion": rest}) + "\n" for rest in ("no", "ri", "la")))
    return str(file)


def test_an_adapter_is_trained_and_answers_over_four_bits(data, tmp_path, capsys):
    out, beside = (str(tmp_path / name) for name in ("adapter", "beside"))
    options = [*NAMES, "--data", data, "--rank", "2", "--lr", "1e-2", "--steps", "3"]
    assert cli.main(["train", *options, "--quantize", "nf4", "--out", out]) == 0
    assert cli.main(["train", *options, "--out", beside]) == 0
    over, plain = LoRAModel.from_pretrained(quantize_(load_name_gpt()), out), load_name_gpt()
    assert not same_bits(
        bits(over.adapters), bits(LoRAModel.from_pretrained(plain, beside).adapters)
    )  # other weights under it, another adapter
    said = capsys.readouterr()
    assert f"of {LoRAModel(load_name_gpt(), rank=2).count()[1]:,} parameters" in said.err  # numbers, not bytes
    assert cli.main(["generate", *NAMES, "--adapter", out, "--quantize", "nf4", "ai"]) == 0
    base = load_base("names", quantize="nf4")
    assert capsys.readouterr().out.strip() == base.answer(over, [("ai", "")])[0]


def test_an_unknown_way_is_refused_in_one_line(data, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", *NAMES, "--data", data, "--out", str(tmp_path / "out"), "--quantize", "nf8"])
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and len(lines) == 1 and all(name in lines[0] for name in QUANTIZERS)
    with pytest.raises(ValueError, match="quantize='nf8' is unknown"):
        load_base("names", quantize="nf8")


def test_bitsandbytes_is_refused_where_it_is_missing_or_wrong(data, tmp_path, capsys):
    assert cli.main(["train", *NAMES, "--data", data, "--out", str(tmp_path / "out"), "--quantize", "bnb-nf4"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and ("pip install" in lines[0] or "no whole blocks" in lines[0])
