"""The captioner's own errors: each with a stable reason that clients may rely on."""

from chassis.errors import FailedPrecondition, NotFound, Unavailable


class TaxonomyNotFound(NotFound):
    """No taxonomy has the name that was asked for."""

    reason = "TAXONOMY_NOT_FOUND"


class BadTaxonomy(FailedPrecondition):
    """A taxonomy's file is wrong; the start stops and names every problem of the file."""

    reason = "BAD_TAXONOMY"


class BadCalibration(FailedPrecondition):
    """A file of calibrations is damaged; the start stops and names every problem of the file."""

    reason = "BAD_CALIBRATION"


class BadLabels(FailedPrecondition):
    """A list of labelled photos cannot be used for calibration."""

    reason = "BAD_LABELS"


class ModelMismatch(FailedPrecondition):
    """An embedding was made by another model than the one that is loaded."""

    reason = "MODEL_MISMATCH"


class ModelRestarting(Unavailable):
    """The model's process has ended, and another one is being started."""

    reason = "MODEL_RESTARTING"


class ShuttingDown(Unavailable):
    """The server is going down and takes no more."""

    reason = "SHUTTING_DOWN"
