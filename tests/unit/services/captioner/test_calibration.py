import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.captioner.calibration import (
    are_right,
    choose_threshold,
    digest_labels,
    expected_calibration_error,
    fit,
    fit_temperature,
    reliability_bins,
    softmax,
)
from services.captioner.taxonomy import ZeroShotCategory

LOGITS = arrays.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(2, 12)), elements=st.floats(-30, 30))


def drawn(photos: int, temperature: float, labels: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and for each photo whether its leader is right, as often as a softmax at `temperature` says."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (photos, labels)) * temperature
    right = random.random(photos) < softmax(logits, temperature).max(axis=1)
    return logits, right


@given(LOGITS, st.floats(0.1, 20))
def test_a_temperature_never_changes_which_label_is_surer(logits: np.ndarray, temperature: float) -> None:
    warm = softmax(logits, temperature)

    higher = logits[:, :, None] > logits[:, None, :]
    assert (warm[:, :, None] >= warm[:, None, :])[higher].all()
    np.testing.assert_allclose(warm.sum(axis=1), 1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_the_photos_were_drawn_with_is_found(temperature: float) -> None:
    logits, right = drawn(20_000, temperature)

    assert fit_temperature(logits, right) == pytest.approx(temperature, rel=0.1)


def test_confidences_that_are_right_have_hardly_an_error() -> None:
    logits, right = drawn(20_000, 1.0)

    assert expected_calibration_error(softmax(logits).max(axis=1), right) < 0.02


def test_always_sure_and_half_right_is_an_error_of_a_half() -> None:
    assert expected_calibration_error(np.ones(10), np.arange(10) % 2 == 0) == pytest.approx(0.5)


@given(arrays.arrays(np.float64, st.integers(1, 50), elements=st.floats(0, 1)), st.randoms())
def test_each_photo_is_in_one_bin(confidences: np.ndarray, random: object) -> None:
    right = np.array([random.random() < 0.5 for _ in confidences])  # type: ignore[attr-defined]

    assert sum(each.count for each in reliability_bins(confidences, right)) == len(confidences)
    assert 0 <= expected_calibration_error(confidences, right) <= 1


def test_a_fit_makes_the_error_smaller_on_photos_that_it_was_not_fitted_on() -> None:
    logits, right = drawn(500, 0.3)

    fitted = fit(logits, right, precision=0.8)

    before = expected_calibration_error(fitted.before, right)
    assert expected_calibration_error(fitted.after, right) < before / 2


def test_readings_from_the_threshold_on_are_as_precise_as_was_asked() -> None:
    logits, right = drawn(500, 1.0)

    fitted = fit(logits, right, precision=0.8)

    assert right.mean() < 0.8 <= right[fitted.after >= fitted.min_confidence].mean()


def test_no_threshold_helps_when_readings_are_wrong() -> None:
    assert choose_threshold(np.linspace(0.1, 0.9, 50), np.zeros(50, dtype=np.bool_), 0.7) == 1


def test_a_few_lucky_readings_are_no_threshold() -> None:
    right = np.arange(50) < 3

    assert choose_threshold(np.linspace(0.9, 0.1, 50), right, 0.7) == 1


def test_any_of_the_accepted_labels_is_right() -> None:
    logits = np.array([[3.0, 1.0, 0.0], [0.0, 1.0, 3.0]])

    assert are_right(logits, ["mug", "cup", "jar"], [frozenset(["mug", "cup"])] * 2).tolist() == [True, False]


def test_other_labels_names_or_prompts_have_another_digest() -> None:
    category = {"name": "kind", "reader": "zero_shot", "prompts": ["a {}"], "labels": ["mug", "jar"]}
    others = [
        {**category, "labels": ["mug", "cup"]},
        {**category, "labels": ["mug", {"name": "jar", "also": ["can"]}]},
        {**category, "labels": ["mug", "jar", "can"]},
        {**category, "prompts": ["one {}"]},
    ]

    digests = {digest_labels(ZeroShotCategory.model_validate(each)) for each in [category, *others]}

    assert len(digests) == 5
