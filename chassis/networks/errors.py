"""How networks fail, each with a stable reason that clients may rely on."""

from chassis.errors import BackdropError, FailedPrecondition


class ModelNotLoaded(FailedPrecondition):
    """The model that the configuration names cannot be loaded, or not as it wants it."""

    reason = "MODEL_NOT_LOADED"


class ModelFailed(BackdropError):
    """The model failed on a request."""

    reason = "MODEL_FAILED"


class DeviceLost(BackdropError):
    """The model's device is in a state that only a new process leaves."""

    reason = "DEVICE_LOST"
