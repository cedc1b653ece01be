"""What is drawn on axes, read back."""


def named(ax):
    """Lines that the legend names, by their names."""
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def legend(ax):
    """Texts of the legend."""
    return [text.get_text() for text in ax.get_legend().get_texts()]
