"""The course on one page: a figure of text, written as PDF to print and as PNG to look at."""

from lora_teach.plots import figure

UPDATE = [
    ("$y = x W^\\top + b + s \\cdot x A B$", ""),
    ("$W$", "(out, in), frozen"),
    ("$A$", "(in, r), random"),
    ("$B$", "(r, out), zero: a new adapter changes nothing"),
    ("$s = \\alpha / r$", "the scaling; rsLoRA divides by $\\sqrt{r}$"),
    ("$\\Delta W = s\\,(AB)^\\top$", "(out, in), of rank r at most"),
    ("r · (in + out)", "numbers train, in place of in · out"),
]
PEFT = [
    ("lora_A.weight", "(r, in): our $A$ transposed"),
    ("lora_B.weight", "(out, r): our $B$ transposed"),
    ("r, lora_alpha", "rank, alpha"),
]
FIRST = [
    ("1", "rank 8, and leave alpha as it is"),
    ("2", "learning rates by factors of 3, on validation data"),
    ("3", "rank 4 and 16, at that rate"),
    ("4", "more steps, until the validation loss stops falling"),
    ("5", "still behind? a far larger alpha, then 2 again"),
]
WRONG = [
    ("nothing moves", "was the optimiser made after the adapter?"),
    ("it blows up", "a rate carried over from another alpha or rank?"),
    ("it learns nothing", "is the rate too low? are $A$ and $B$ both zero?"),
    ("no effect at use", "is the adapter on? was the new head saved too?"),
    ("it forgets", "turn it down: below ×1 much of the gain is kept"),
]
CODE = """\
model = LoRAModel(base, rank=8)
train(model, batches, loss_fn, lr=1e-3, steps=60)
model.save_adapter(folder)
model.load_adapter(folder, "again")
model.set_adapter({"default": 0.5, "again": 0.5})
model.set_adapter("again")
with model.disabled():
    ...  # the base, to the last bit
model.merge()
model.unmerge()
print(diagnose(model))
base = model.remove()"""
COLUMNS = [
    [("The update", UPDATE), ("In PEFT's files", PEFT)],
    [("What to try first", FIRST), ("When it goes wrong", WRONG)],
]
LINE = 0.041  # of the page's height


def draw():
    """Return the sheet, a Figure of A4 across."""
    sheet = figure(11.69, 8.27)
    sheet.text(0.04, 0.93, "LoRA on one page", size=20, weight="bold")
    sheet.text(0.04, 0.895, "from the course lora_teach; the notebooks have the reasons", size=10)
    for left, indent, blocks in ((0.04, 0.13, COLUMNS[0]), (0.5, 0.17, COLUMNS[1])):
        top = 0.83
        for title, rows in blocks:
            sheet.text(left, top, title, size=13, weight="bold")
            step = 0.03 if title == "What to try first" else indent
            for number, (what, words) in enumerate(rows, start=1):
                sheet.text(left, top - number * LINE, what, size=10)
                sheet.text(left + step, top - number * LINE, words, size=10)
            top -= (len(rows) + 1.6) * LINE
    sheet.text(0.04, 0.25, "The life of an adapter", size=13, weight="bold")
    lines = CODE.splitlines()
    for column in range(2):
        part = "\n".join(lines[6 * column : 6 * column + 6])
        sheet.text(0.04 + 0.46 * column, 0.225, part, size=9.5, family="monospace", va="top", linespacing=1.5)
    return sheet


def write(folder):
    """Write ``cheat_sheet.pdf`` and ``cheat_sheet.png`` into a folder."""
    sheet = draw()
    sheet.savefig(folder / "cheat_sheet.pdf", metadata={"CreationDate": None})  # the same bytes each time
    sheet.savefig(folder / "cheat_sheet.png", dpi=110)
