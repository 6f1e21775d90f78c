"""Colours by name: for each, sRGB values that people call so, as anchors in CIELAB."""

from collections.abc import Mapping

# Several anchors a name, since names cover regions: a light and a dark red are both red, but a dark orange is brown.
COLOR_ANCHORS: Mapping[str, tuple[str, ...]] = {
    "black": ("#000000", "#1c1c1c", "#363636"),
    "gray": ("#666666", "#808080", "#9c9c9c"),
    "light gray": ("#b8b8b8", "#c6c6c6"),
    "white": ("#ffffff", "#f2f2f2", "#dedede"),
    "cream": ("#fff6dc", "#f5ecd2"),
    "beige": ("#e4d5b7", "#d8c8b0", "#ddc9b4", "#bdb09a"),
    "tan": ("#c8a679", "#b8946a", "#c49a6c"),
    "brown": ("#7b4a26", "#5a3825", "#8b5a2b", "#3e2a1d", "#98694a"),
    "terracotta": ("#c4623f", "#b5573a", "#c9744f"),
    "red": ("#d01c1f", "#e53935", "#b01218"),
    "burgundy": ("#6b1226", "#7d1e2f", "#541320"),
    "coral": ("#ff7f5c", "#f28a73", "#e9674f"),
    "pink": ("#f7b2c4", "#f48fb1", "#e88aa5", "#fbd5dd"),
    "magenta": ("#d6187f", "#c2187a", "#e83e9c"),
    "purple": ("#6a2c91", "#7e3fa5", "#4a2066", "#9455b8"),
    "lavender": ("#c9b6e4", "#b39ddb", "#dcd0ef"),
    "navy": ("#14213d", "#1b2a56", "#0d1b3e", "#0c0c7c"),
    "blue": ("#1f5fbf", "#2f6fd6", "#1a46a0", "#3d7bc0", "#1414f5"),
    "light blue": ("#a9cdea", "#8fc1e8", "#c5dff2"),
    "turquoise": ("#3fc9c4", "#5fd6cf", "#30bdb9"),
    "teal": ("#0f7173", "#1a7f83", "#0b5559"),
    "green": ("#2e9e46", "#3fae49", "#66b84a", "#6f9e58"),
    "dark green": ("#1e4d2b", "#17402a", "#2c5a35", "#1f3029"),
    "olive": ("#6b6b2b", "#808040", "#575a2a", "#7d7d0a"),
    "mint": ("#b5e3c9", "#a3dbbd", "#cdeedd"),
    "yellow": ("#f7d92e", "#ffe44d", "#f9e27a"),
    "mustard": ("#d0a21f", "#c4961a"),
    "gold": ("#c9a24a", "#d4af37"),
    "orange": ("#f2811d", "#ff8c1a", "#e86f12", "#f4a04a"),
}
