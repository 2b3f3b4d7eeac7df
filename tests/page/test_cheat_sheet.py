"""The cheat sheet: its code runs as it stands there, and its words lie on the page, none over another."""

from itertools import combinations

from lora_teach import LoRAModel, train
from lora_teach.bases import load_digit_net
from lora_teach.datasets import digits
from lora_teach.doctor import diagnose
from lora_teach.page import cheat_sheet

import torch
from torch.nn.functional import cross_entropy


def test_its_code_runs(tmp_path, capsys):
    base, (images, labels) = load_digit_net(), digits.rotated(90).train
    before = {name: value.clone() for name, value in base.state_dict().items()}
    names = {
        "LoRAModel": LoRAModel, "train": train, "diagnose": diagnose, "base": base, "loss_fn": cross_entropy,
        "batches": [(images[:32], labels[:32])], "folder": tmp_path / "adapter",
    }  # fmt: skip
    exec(cheat_sheet.CODE, names)
    assert names["base"] is base and capsys.readouterr().out.strip()
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()


def test_its_words_lie_on_the_page_and_apart():
    sheet = cheat_sheet.draw()
    sheet.canvas.draw()
    boxes = {text.get_text(): text.get_window_extent() for text in sheet.texts if text.get_text()}
    page = sheet.bbox
    for words, box in boxes.items():
        assert page.x0 < box.x0 and box.x1 < page.x1 and page.y0 < box.y0 and box.y1 < page.y1, words
    for (one, box), (other, its) in combinations(boxes.items(), 2):
        assert not box.overlaps(its), (one, other)


def test_it_is_written_the_same_twice(tmp_path):
    (tmp_path / "again").mkdir()
    for folder in (tmp_path, tmp_path / "again"):
        cheat_sheet.write(folder)
    for name in ("cheat_sheet.pdf", "cheat_sheet.png"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
