"""The captioner's own errors: each with a stable reason that clients may rely on."""

from chassis.errors import BackdropError, FailedPrecondition, NotFound, ResourceExhausted, Unavailable


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


class ModelNotLoaded(FailedPrecondition):
    """The image-text model that the configuration names cannot be loaded."""

    reason = "MODEL_NOT_LOADED"


class ModelFailed(BackdropError):
    """The image-text model failed on a request."""

    reason = "MODEL_FAILED"


class OutOfMemory(ResourceExhausted):
    """The device that the model runs on is out of memory for now."""

    reason = "OUT_OF_MEMORY"


class ModelRestarting(Unavailable):
    """The model's process has ended, and another one is being started."""

    reason = "MODEL_RESTARTING"


class DeviceLost(BackdropError):
    """The model's device is in a state that only a new process leaves, so the model's process ends."""

    reason = "DEVICE_LOST"


class ShuttingDown(Unavailable):
    """The server is going down and takes no more."""

    reason = "SHUTTING_DOWN"
