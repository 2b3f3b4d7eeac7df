"""From a short specification to a widget: ``(1, 96, 8)`` is an integer slider from 1 to 96 that starts at 8."""

import math
from numbers import Integral, Real

import ipywidgets


def control(name, spec, label=None):
    """The widget for one keyword of a view.

    Args:
        name: The view's keyword.
        spec: ``(min, max, value[, step])``: a slider, of integers if all are integers. A list of numbers: a slider
            over them. A list of texts: buttons. A dict ``{value: text}``: buttons that say something else than their
            values. A bool: a checkbox. ``([…], value)``: a list that doesn't start at its first entry. A ready widget
            is taken as it is.
        label: What stands before it; the name by default, underscores as spaces.

    Raises:
        TypeError: a specification of no known form.
        ValueError: a range that is empty or doesn't contain its start value.
    """
    if isinstance(spec, ipywidgets.Widget):
        if not spec.has_trait("value"):
            raise TypeError(f"{name}: a {type(spec).__name__} has no value to hand to the view.")
        return spec
    options = {"description": label or name.replace("_", " ")}
    if isinstance(spec, bool):
        return ipywidgets.Checkbox(value=spec, indent=True, **options)
    if isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[0], list):
        return _choice(name, spec[0], spec[1], options)
    if isinstance(spec, dict) and spec:
        made = _choice(name, list(spec.values()), next(iter(spec.values())), options)
        made.options = [(text, value) for value, text in spec.items()]
        return made
    if isinstance(spec, list) and spec:
        return _choice(name, spec, spec[0], options)
    if isinstance(spec, tuple) and len(spec) in (3, 4) and all(_is_number(number) for number in spec):
        return _slider(name, *spec, **options)
    raise TypeError(
        f"{name}={spec!r} is no control: give (min, max, value) or (min, max, value, step), a list of numbers "
        "or of texts, {value: text}, ([…], value), True or False, or a widget."
    )


def set_value(widget, value):
    """Move a control to ``value``; a slider over numbers gets a place for one that it lacks."""
    if isinstance(widget, ipywidgets.SelectionSlider):
        places = [place for _, place in widget.options]
        if value not in places:
            widget.options = _labelled(sorted([*places, value]))
    widget.value = value


def positions(widget):
    """Where a test must have been: minimum, start value and maximum of a slider, each choice of anything else."""
    if hasattr(widget, "min") and hasattr(widget, "max"):
        return widget.min, widget.value, widget.max
    if hasattr(widget, "options"):
        values = [option[1] if isinstance(option, tuple) else option for option in widget.options]
        return (
            (values[0], widget.value, values[-1]) if isinstance(widget, ipywidgets.SelectionSlider) else tuple(values)
        )
    if isinstance(widget.value, bool):
        return False, True
    return (widget.value,)


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _slider(name, low, high, value, step=None, **options):
    if not low < high:
        raise ValueError(f"{name}: the range {low} to {high} is empty: give (min, max, value) with min below max.")
    if not low <= value <= high:
        raise ValueError(f"{name}: the start value {value} lies outside {low} to {high}.")
    if step is not None and not 0 < step <= high - low:
        raise ValueError(f"{name}: the step {step} must be above 0 and at most {high - low}.")
    if all(isinstance(number, Integral) for number in (low, high, value, step or 1)):
        return ipywidgets.IntSlider(value=value, min=low, max=high, step=step or 1, **options)
    step = step or (high - low) / 100
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != step:  # 0.25 needs two decimals, not one
        decimals += 1
    return ipywidgets.FloatSlider(value=value, min=low, max=high, step=step, readout_format=f".{decimals}f", **options)


def _labelled(numbers):
    return [(f"{number:g}" if isinstance(number, float) else str(number), number) for number in numbers]


def _choice(name, values, value, options):
    if value not in values:
        raise ValueError(f"{name}: the start value {value!r} is not among {values}.")
    if all(_is_number(entry) for entry in values):
        return ipywidgets.SelectionSlider(options=_labelled(values), value=value, **options)
    if not all(isinstance(entry, str) for entry in values):
        raise TypeError(f"{name}: a list is all numbers or all texts, and {values} is mixed.")
    # Not a menu: JupyterLab takes the arrow keys away from one, to move between cells.
    buttons = ipywidgets.ToggleButtons(options=values, value=value, **options)
    buttons.style.button_width = "auto"
    buttons.layout.height = "auto"  # room for a second row on a narrow page
    for name in ("jupyter-widgets", "widget-inline-hbox"):  # as sliders have it: the label stands before, not above
        buttons.add_class(name)
    return buttons
