"""The compositor's own errors: each with a stable reason that clients may rely on."""

from chassis.errors import DeadlineExceeded, FieldViolation, InvalidArgument


class CutOutFailed(InvalidArgument):
    """Nothing in the product photo stands out from its border."""

    reason = "CUT_OUT_FAILED"

    @classmethod
    def because(cls, description: str) -> "CutOutFailed":
        """An error that blames the product photo; `description` says what is wrong and what to send instead."""
        return cls(
            f"image: {description}",
            violations=[FieldViolation("image", description)],
        )


class CutOutTimeout(DeadlineExceeded):
    """The product was not cut out before the caller's deadline, or in the longest time that it may take."""

    reason = "CUT_OUT_TIMEOUT"
