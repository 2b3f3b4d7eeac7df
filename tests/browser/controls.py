"""What can be moved on a page: by which keys, what a person would call it, and how to see that it moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # plain pytest reads the files beside this one where playwright is not installed
    from playwright.sync_api import Locator

# What can be moved, or may become so. A Stop button ends a training and moves nothing.
SLIDER, CHOICE, OTHER = "[role=slider]", "select, input[type=checkbox]", "button.jupyter-button"
# The bytes of all pictures in an output, in short; of its text where it has no picture.
LOOK = """async output => {
    const pictures = [...output.querySelectorAll('img')].filter(img => img.src);
    if (!pictures.length) return output.innerText;
    const looks = [];
    for (const img of pictures) {
        const bytes = await (await fetch(img.src)).arrayBuffer();
        const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
        looks.push([...digest.slice(0, 8)].join('.'));
    }
    return looks.join(' ');
}"""


def keys_for(kind: str, control: Locator) -> list[str | int]:
    """Return the keys to try in turn: a step, further steps the same way, the ends; for a menu, its other entries."""
    if kind == SLIDER:
        at_end = control.get_attribute("aria-valuenow") == control.get_attribute("aria-valuemax")
        return ["ArrowLeft", "ArrowLeft", "Home"] if at_end else ["ArrowRight", "ArrowRight", "End", "Home"]
    if control.evaluate("control => control.tagName") == "SELECT":
        options, now = control.evaluate("menu => [menu.options.length, menu.selectedIndex]")
        return [index for index in range(options) if index != now]
    return [" "] if kind == CHOICE else ["Enter"]


def name_of(control: Locator) -> str:
    """Return what a person would call a control: its kind, and the label of its row or its own text."""
    return control.evaluate(
        r"""control => {
            const kind = control.getAttribute('role') ?? control.tagName.toLowerCase();
            if (kind === 'button') return `button ${control.innerText.trim()}`;
            const row = control.closest('.widget-checkbox') ?? control.closest('.widget-inline-hbox, .jupyter-widgets');
            const label = row?.querySelector('.widget-label, label');
            const text = control.type === 'checkbox' ? row?.innerText : (label ?? row)?.innerText;
            return `${kind === 'input' ? 'checkbox' : kind} ${(text ?? '').replace(/\u200b/g, '').trim()}`;
        }"""
    )


def look(output: Locator) -> str:
    """Return what an output looks like, in short: the bytes of its pictures, or its text where it has none."""
    for _ in range(20):
        try:
            return output.evaluate(LOOK)
        except Exception as error:  # a picture that is being replaced can't be fetched
            if "fetch" not in str(error):
                raise
    return "a picture that can't be fetched"
