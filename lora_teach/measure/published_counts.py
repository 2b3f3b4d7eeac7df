"""What papers print about the size of their adapters, beside what follows from the shapes.

Nothing here is typed in but what is printed: the count is derived each time from the architecture. The rule: a printed
number **agrees** if the derived one, rounded or truncated to as many digits, is the printed one; **nearly** if it is
within a thousandth of it; otherwise it **does not**.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from lora_teach.measure.architectures import ARCHITECTURES, total_parameters, trainable_per_rank

UNITS = {"": 1, "M": 10**6, "B": 10**9}
NEAR = Decimal("0.001")
HEADING = f"  {'model':14} {'adapted':26} {'printed':>13} {'derived':>13} {'':9} where it is printed"
MARKS = {"agrees": "✓", "nearly": "≈", "does not": "✗"}


def verdict(printed, derived):
    """Compare a printed count with a derived one; return ``(verdict, how)``.

    >>> verdict("0.3M", 294_912), verdict("18.8M", 18_874_368), verdict("603.8M", 603_979_776)
    (('agrees', 'rounded'), ('agrees', 'truncated'), ('nearly', ''))
    """
    unit = printed[-1] if printed[-1] in UNITS else ""
    number = Decimal(printed.removesuffix(unit).replace(",", ""))
    exact = Decimal(derived) / UNITS[unit]
    step = Decimal(1).scaleb(number.as_tuple().exponent)
    if exact == number:
        return "agrees", "exactly"
    for how, rule in (("rounded", ROUND_HALF_UP), ("truncated", ROUND_DOWN)):
        if exact.quantize(step, rule) == number:
            return "agrees", how
    return ("nearly" if abs(exact - number) <= NEAR * number else "does not"), ""


@dataclass(frozen=True)
class Row:
    """One printed number, of a model's adapter at a rank on the layers ``which``; "head" adds the output head.

    ``of`` is "adapter", or "model" where base and adapter are counted together. ``explain`` gives the reason why
    printed and computed differ, None where they agree or nobody knows.
    """

    where: str
    model: str
    which: str
    rank: int
    printed: str
    head: bool = False
    of: str = "adapter"
    explain: Callable | None = None

    @property
    def derived(self):
        """The count that follows from the shapes."""
        count = self.rank * trainable_per_rank(self.model, self.which, self.head)
        return count + total_parameters(self.model) if self.of == "model" else count

    @property
    def verdict(self):
        """One of "agrees", "nearly" and "does not"."""
        return verdict(self.printed, self.derived)[0]

    @property
    def reason(self):
        """Why printed and derived differ, as far as the shapes tell; empty where there is nothing to say."""
        return self.explain(self) if self.explain else ""

    def __str__(self):
        """One line: mark, model, what is adapted, printed, derived."""
        beside = " + head" if self.head else " + model" if self.of == "model" else ""
        what = f"{self.which}{beside}, r = {self.rank}"
        how = verdict(self.printed, self.derived)[1]
        return (
            f"{MARKS[self.verdict]} {self.model:14} {what:26} {self.printed:>13} {self.derived:>13,} "
            f"{how:9} {self.where}"
        )


def _at(row, rank):
    return rank * trainable_per_rank(row.model, row.which, row.head)


def _with_classifier(row):
    width = ARCHITECTURES[row.model].sizes["hidden_size"]
    whole = row.derived + width * width + width + 3 * width + 3
    return (
        f"it is RoBERTa-large's number; or it counts MNLI's classifier, d → d → 3, which is trained too: {whole:,}, "
        "truncated."
    )


def _rank_16(row):
    return f"rank 16 gives {_at(row, 16):,}, and the script that the authors released for MNLI has --lora_r 16."


def _thousandth(row):
    total = total_parameters(row.model)
    return f"unknown. A thousandth of the model, {total / 1000:,.0f}, would be printed like this; no rank would."


def _rank_4(row):
    return f"rank 4 gives {_at(row, 4):,}, as the paper's table 15 has it."


def _doubled(row):
    half = Decimal(row.rank * trainable_per_rank(row.model, "q v")) / UNITS["M"]
    half = half.quantize(Decimal("0.1"), ROUND_DOWN)
    return f"twice the truncated {half}M of q v, r = {row.rank}, is {2 * half}M."


def _headless(row):
    count = row.rank * trainable_per_rank(row.model, row.which)
    return f"without the head it would be {count:,}, which doesn't agree."


HU, REGRET = "Hu et al.", "LoRA Without Regret"
ROWS = [
    Row(f"{HU}, table 2", "RoBERTa-base", "q v", 8, "0.3M"),
    Row("loralib's README", "RoBERTa-base", "q v", 8, "0.8M", explain=_with_classifier),
    Row(f"{HU}, table 2", "RoBERTa-large", "q v", 8, "0.8M"),
    Row(f"{HU}, table 2", "DeBERTa-v2-XXL", "q v", 8, "4.7M", explain=_rank_16),
    Row(f"{HU}, table 3", "GPT-2 medium", "q v", 4, "0.35M", explain=_thousandth),
    Row(f"{HU}, table 3", "GPT-2 large", "q v", 4, "0.77M", explain=_thousandth),
    Row(f"{HU}, table 15", "GPT-3 175B", "q v", 1, "4.7M"),
    Row(f"{HU}, table 15", "GPT-3 175B", "q v", 2, "9.4M"),
    Row(f"{HU}, table 15", "GPT-3 175B", "attention", 1, "9.4M"),
    Row(f"{HU}, table 15", "GPT-3 175B", "q v", 4, "18.8M"),
    Row(f"{HU}, table 15", "GPT-3 175B", "attention", 2, "18.8M"),
    Row(f"{HU}, table 15", "GPT-3 175B", "q v", 8, "37.7M"),
    Row(f"{HU}, table 15", "GPT-3 175B", "attention", 4, "37.7M"),
    Row(f"{HU}, appendix D.4", "GPT-3 175B", "attention", 2, "37.7M", explain=_rank_4),
    Row(f"{HU}, table 15", "GPT-3 175B", "q v", 64, "301.9M"),
    Row(f"{HU}, table 15", "GPT-3 175B", "attention", 64, "603.8M", explain=_doubled),
    Row("torchtune's tutorial", "Llama-2-7B", "q v", 8, "4,194,304"),
    Row("torchtune's tutorial", "Llama-2-7B", "q v", 8, "6,742,609,920", of="model"),
    Row("PEFT's benchmark", "Llama-3.2-3B", "q v", 32, "9,175,040"),
    Row(REGRET, "Llama-3.1-8B", "all linear", 256, "0.70B", head=True, explain=_headless),
    Row(REGRET, "Llama-3.1-8B", "attention", 256, "0.25B", head=True, explain=_headless),
    Row(REGRET, "Llama-3.1-8B", "MLP", 128, "0.24B", head=True, explain=_headless),
]


def printed_rows():
    """Return the table, in the order of the papers."""
    return list(ROWS)
