"""What the doctor says, and the table of the faults that it knows."""

from dataclasses import dataclass, field
from typing import NamedTuple

NO_ADAPTER = "Found no adapter: no LoRAModel, no PEFT model, and no module with lora_A and lora_B."
NOTEBOOK = "08_when_it_goes_wrong"
SYMPTOMS = (  # in this order they are looked for and reported; notebook 08 has a room for each
    "Nothing moves",
    "It moves and does not learn",
    "It learns something else",
    "It blows up",
    "It is worse than the base",
    "It has no effect when loaded",
)


@dataclass(frozen=True)
class Finding:
    """One fault that was found.

    Attributes:
        fault: Its name, such as ``"alpha_zero"``: a key of `FAULTS`.
        evidence: Where it is and by how much, in names and numbers.
        cure: What to do, with a line of code.
        notebook: The notebook and its heading that show the fault.
    """

    fault: str
    evidence: str
    cure: str
    notebook: str

    def __str__(self):
        return f"{self.fault}: {self.evidence}.\n    cure: {self.cure}\n    see:  {self.notebook}"


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found; printing it gives a readable report.

    Attributes:
        findings: A `Finding` for each fault, in the order of the symptoms: nothing moves, it moves and does not learn,
            it blows up, it is worse than the base or has no effect.
        looked_at: What was looked at, in words, and what was not given.
    """

    findings: tuple
    looked_at: str = field(compare=False, default="")

    @property
    def ok(self):
        """Whether there are adapters and no fault was found."""
        return not self.findings and self.looked_at != NO_ADAPTER

    def __str__(self):
        lines, symptom = [], None
        for finding in self.findings:
            if FAULTS[finding.fault].symptom != symptom:
                symptom = FAULTS[finding.fault].symptom
                lines.append(f"{symptom}.")
            lines.append("  " + str(finding))
        return "\n".join([*(["No fault found."] if self.ok else lines), self.looked_at])

    __repr__ = __str__


class Fault(NamedTuple):
    """One fault: how it shows, how it is found and cured, where it is explained, and which faults explain it away."""

    symptom: str
    find: callable
    cure: str
    notebook: str
    unless: tuple


FAULTS = {}  # name -> Fault


def fault(symptom, cure, unless=()):
    """Decorator: register ``find(case)``, which returns the evidence or None, under its own name.

    Args:
        symptom: The heading of notebook 08 under which it belongs.
        cure: What to do, with a line of code.
        unless: Names of faults of which this one would only be the consequence.
    """

    def register(find):
        where = f"{NOTEBOOK}.ipynb, Room {SYMPTOMS.index(symptom) + 1}: {symptom}"
        FAULTS[find.__name__] = Fault(symptom, find, cure, where, unless)
        return find

    return register


def some(names, most=3):
    """Return the first few of ``names`` in words, and how many more there are.

    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    names = list(names)
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
