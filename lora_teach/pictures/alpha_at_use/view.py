"""The two lives of alpha: multiplied before training, or after it.

What is drawn comes from `lora_teach.measure.separate_rates.two_lives_of_alpha`.
"""

from lora_teach.plots.style import COLOURS, figure, legend, line, log2_axis, panels, styled


def spoken(multiple):
    """Return "×1/4" for 0.25 and "×4" for 4.

    >>> spoken(0.25), spoken(4.0)
    ('×1/4', '×4')
    """
    return f"×1/{1 / multiple:g}" if multiple < 1 else f"×{multiple:g}"


@styled
def draw_alpha_at_use(lines, multiples, base):
    """Make the picture.

    Args:
        lines: ``{"used": …, "trained": …, "rate of B": …}``, accuracies from 0 to 1, one a multiple.
        multiples: Powers of two.
        base: The accuracy of the base, without an adapter.
    """
    fig = figure(8.4, 3.9)
    axes = panels(fig)
    hollow = {"linestyle": "", "marker": "s", "markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.5}
    axes.plot(multiples, lines["rate of B"], **line("base", **hollow, label="B's learning rate, in alpha's place"))
    axes.plot(multiples, lines["trained"], **line("lora", label="alpha, before training"))
    axes.plot(multiples, lines["used"], **line("other", label="alpha, after training"))
    axes.axhline(base, color=COLOURS["base"], linestyle=":", linewidth=1.2, zorder=0)
    axes.annotate(
        "the base", (1, base), xycoords=("axes fraction", "data"), xytext=(-4, -4), textcoords="offset points",
        ha="right", va="top", size=9, color=COLOURS["base"],
    )  # fmt: skip
    log2_axis(axes, multiples, [spoken(multiple) for multiple in multiples])
    axes.set(xlabel="multiplied by", ylabel="test digits read right", ylim=(-0.02, 1.02))
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    legend(axes, loc="upper right", bbox_to_anchor=(1.0, 0.88), title="what is multiplied", title_fontsize=9)
    return fig
