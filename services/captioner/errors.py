"""The captioner's own errors: each with a stable reason that clients may rely on."""

from chassis.errors import BackdropError, FailedPrecondition, NotFound, ResourceExhausted


class TaxonomyNotFound(NotFound):
    """No taxonomy has the name that was asked for."""

    reason = "TAXONOMY_NOT_FOUND"


class BadTaxonomy(FailedPrecondition):
    """A taxonomy's file is wrong; the start stops and names every problem of the file."""

    reason = "BAD_TAXONOMY"


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
