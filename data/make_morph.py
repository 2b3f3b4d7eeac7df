"""Measure Morph's lines, the judges' surprise at each strength of each adapter, and draw the README's pictures.

    python data/make_morph.py [--out data] [--names 256]          about 20 s a language on one CPU core

Writes morph.json, morph.png and morph.gif (the slider moves from ×0 to ×2, three times). Run it again after
data/make_adapters.py.
"""

import argparse
import hashlib
import json
from pathlib import Path

from lora_teach.bases import gumbel_noise, load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.datasets.shipped import shipped_file
from lora_teach.measure.judging import STRENGTHS, TEMPERATURE, Jury
from lora_teach.measure.writing import write_names
from lora_teach.pictures.morph.view import Morph, draw_columns
from lora_teach.plots import show

import torch
from PIL import Image

SEED = 1  # other names than the eight on the board
SENTENCE = (
    "Eight names by one small model of English names, at five strengths of its Finnish adapter. "
    "The dice are thrown once, so every change comes from the adapter."
)


def fingerprint(language):
    """Return the SHA-256 of a shipped adapter's file, by which one knows whether a measurement is of this adapter."""
    file = f"adapters/{language.lower()}/adapter_model.safetensors"
    return hashlib.sha256(shipped_file(file, "python data/make_adapters.py").read_bytes()).hexdigest()


def measure(language, noise):
    """Return both judges' surprise in nats a letter and the share of real names: three lists, one entry a strength."""
    model, jury = load_language_adapter(load_name_gpt(), language), Jury(language)
    points = {"english": [], "other": [], "real": []}
    for strength in STRENGTHS:
        written = write_names(model, language, strength, noise)
        english, other = jury.surprise(written)
        points["english"].append(round(english, 4))
        points["other"].append(round(other, 4))
        points["real"].append(round(sum(map(jury.is_real, written)) / len(written), 4))
    return points | {"adapter": fingerprint(language)}


def animate(view, path):
    """Move the view's slider from ×0 to ×2 and write what is to be seen; it rests at ×0, ×1 and ×2."""
    frames, milliseconds = [], []
    for twentieth in range(41):
        view.move("Finnish", twentieth / 20)
        frames.append(Image.fromarray(view.picture.pixels()).quantize(32))
        milliseconds.append(1500 if twentieth % 20 == 0 else 100)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=milliseconds, loop=2, optimize=True)


def main():
    """Measure all languages, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--names", type=int, default=256, help="names behind each point")
    options = parser.parse_args()
    results = {
        "command": "python data/make_morph.py",
        "seed": SEED,
        "temperature": TEMPERATURE,
        "names": options.names,
        "torch": torch.__version__,
        "unit": "nats a letter",
        "strengths": STRENGTHS,
        "languages": {},
    }
    noise = TEMPERATURE * gumbel_noise(options.names, SEED)  # (names, letters, alphabet)
    for language in names.languages()[1:]:
        points = results["languages"][language] = measure(language, noise)
        lowest = min(points["other"])
        print(language, f"lowest {lowest:.2f} at ×{STRENGTHS[points['other'].index(lowest)]:g}", flush=True)
    (options.out / "morph.json").write_text(json.dumps(results) + "\n", encoding="utf-8")
    view = Morph(languages=["Finnish"])
    still = show(draw_columns(view.columns("Finnish"), "Finnish"), SENTENCE)
    (options.out / "morph.png").write_bytes(still.png)
    animate(view, options.out / "morph.gif")


if __name__ == "__main__":
    main()
