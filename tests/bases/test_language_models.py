"""A base that can't be loaded is told in one sentence that names it, and never runs code of its own."""

import json

from lora_teach.bases import smollm2
from lora_teach.bases.language_models import load_language_model
from tests.tiny_language_model import save_base, tiny_model, word_tokenizer

import pytest
from safetensors.torch import load_file, save_file

pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path):
    return save_base(tmp_path / "base")


def cut_off(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def other_sizes(folder):
    file = folder / "model.safetensors"
    save_file({key: tensor[..., :3].contiguous() for key, tensor in load_file(file).items()}, file, {"format": "pt"})


def a_pickle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cbuiltins\neval\n(S'1'\ntR.")


def a_pointer(folder):
    # https://github.com/huggingface/transformers/issues/27923
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")


def change(name, **fields):
    def spoil(folder):
        found = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(found | fields))

    return spoil


def broken(name, contents=b"{"):
    return lambda folder: (folder / name).write_bytes(contents)


@pytest.mark.parametrize(
    "spoil",
    [
        cut_off, no_weights, other_sizes, a_pickle, a_pointer, broken("config.json"), broken("tokenizer.json"),
        broken("config.json", b""), broken("config.json", b"\xff\xfe"), broken("config.json", b"[]"),
        broken("tokenizer_config.json"), broken("model.safetensors", b"\0" * 64), broken("generation_config.json"),
        change("config.json", model_type="nothing_known"), change("config.json", hidden_size="wide"),
        change("tokenizer_config.json", tokenizer_class="NothingKnown"), broken("tokenizer.json", b"{}"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_a_spoilt_base_is_told_with_its_name(spoil, folder):
    spoil(folder)
    try:
        load_language_model(folder)
    except (ValueError, OSError) as error:
        assert str(folder) in str(error)
    else:  # transformers makes do without these
        assert spoil.__qualname__.startswith(("broken", "change", "other_sizes"))


def test_code_of_the_base_s_own_is_never_run_and_never_asked_for(folder, tmp_path, monkeypatch):
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    ways = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoTokenizer": ["own.T", "own.T"]}
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    change("config.json", model_type="their_own", auto_map=ways)(folder)
    change("tokenizer_config.json", tokenizer_class="T", auto_map=ways)(folder)
    with pytest.raises(ValueError, match="needs code of its own, which is never run here.*trust_remote_code=False"):
        load_language_model(folder)
    assert not (tmp_path / "ran").exists()


def test_a_spoilt_copy_of_smollm2_says_how_to_fetch_it_anew(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(smollm2.CACHE, str(tmp_path))
    folder.rename(tmp_path / smollm2.FOLDER)
    cut_off(tmp_path / smollm2.FOLDER)
    with pytest.raises(ValueError, match="Delete .*, and it is fetched anew"):
        smollm2.load_smollm2(say=str)


def test_the_end_mark_of_a_gguf_file_is_the_models(monkeypatch):
    import transformers

    model, tokenizer = tiny_model(), word_tokenizer(eos_token="<user>")  # as transformers 5.17 reads SmolLM2's
    model.config.quantization_config = {}
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: tokenizer)
    loaded = model, {"missing_keys": set()}
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: loaded)
    read, its_tokenizer = load_language_model("some/model", gguf_file="weights.gguf")
    assert its_tokenizer.eos_token == "<end>" and its_tokenizer.eos_token_id == read.config.eos_token_id


def one_layer_more(folder):
    change("config.json", num_hidden_layers=3)(folder)


def without(end):
    def spoil(folder):
        file = folder / "model.safetensors"
        save_file(
            {key: value for key, value in load_file(file).items() if not key.endswith(end)}, file, {"format": "pt"}
        )

    return spoil


@pytest.mark.parametrize("spoil", [one_layer_more, without("lm_head.weight"), without("1.mlp.up_proj.weight")])
def test_weights_that_are_missing_are_not_made_up(spoil, folder):
    spoil(folder)
    with pytest.raises(ValueError, match="has no weights for [19] parameters of a LlamaForCausalLM.*random numbers"):
        load_language_model(folder)


def test_a_head_that_is_tied_to_the_embedding_is_not_missing(tmp_path):
    folder = save_base(tmp_path / "tied", tie_word_embeddings=True)
    assert not any("lm_head" in key for key in load_file(folder / "model.safetensors"))
    load_language_model(folder)
