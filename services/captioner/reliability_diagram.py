"""Reliability diagrams: how often readings are right against how sure they say they are."""

from collections.abc import Mapping
from pathlib import Path

from services.captioner.calibration import ECE_BINS, Fit, expected_calibration_error, reliability_bins

_PANEL_INCHES = 3.2
_BEFORE, _AFTER = "#b0b7c3", "#1f6feb"


def draw_reliability(fits: Mapping[str, Fit], path: Path) -> None:
    """Draws one panel for each category, before and after its calibration, as a PNG.

    A dot is a tenth of the scale of confidence; its area shows how many photos it holds. On the diagonal, confidences
    are right.
    """
    # Imported here because a server never draws, and its image does not hold the library.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_PANEL_INCHES * len(fits), _PANEL_INCHES * 1.15), layout="constrained")
    panels = figure.subplots(1, len(fits), sharey=True, squeeze=False)[0]
    for panel, (category, fit) in zip(panels, fits.items(), strict=True):
        panel.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
        for name, confidences, color in (("before", fit.before, _BEFORE), ("after", fit.after, _AFTER)):
            bins = reliability_bins(confidences, fit.right)
            ece = expected_calibration_error(confidences, fit.right)
            x, y = [each.confidence for each in bins], [each.accuracy for each in bins]
            panel.plot(x, y, color=color, linewidth=1)
            areas = [12 + 400 * each.count / len(fit.right) for each in bins]
            panel.scatter(x, y, s=areas, color=color, alpha=0.75, linewidth=0, label=f"{name}, ECE {ece:.3f}")
        if fit.min_confidence < 1:
            panel.axvline(fit.min_confidence, color="#d1242f", linewidth=0.8, label="unsure below")
        panel.set(title=f"{category}\n{len(fit.right)} photos", xlabel="confidence", xlim=(0, 1), ylim=(0, 1.02))
        panel.set_xticks([tick / ECE_BINS for tick in range(0, ECE_BINS + 1, 2)])
        panel.legend(fontsize=7, loc="upper left", markerscale=0.5, frameon=False)
    panels[0].set_ylabel("share that is right")
    figure.savefig(path, dpi=110)
