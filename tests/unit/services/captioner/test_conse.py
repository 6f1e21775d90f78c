import numpy as np
import pytest

from services.captioner.conse import TOP_CLASSES, combine_classes

CLASSES = 20
EMBEDDINGS = np.eye(CLASSES, dtype=np.float32)
EVEN = np.zeros((1, CLASSES), dtype=np.float32)


def test_a_sure_classifier_gives_its_class_and_no_doubt() -> None:
    logits = EVEN.copy()
    logits[0, 3] = 60

    (row,) = combine_classes(logits, EMBEDDINGS)

    assert row[3] == pytest.approx(1, abs=1e-4)
    assert row[-1] == pytest.approx(0, abs=1e-3)


def test_a_doubtful_classifier_gives_mostly_doubt() -> None:
    (row,) = combine_classes(EVEN, EMBEDDINGS)

    assert row[-1] ** 2 == pytest.approx(1 - 1 / TOP_CLASSES, abs=1e-4)


def test_classes_that_mean_the_same_leave_no_doubt() -> None:
    same = np.full((CLASSES, 4), 0.5, dtype=np.float32)

    (row,) = combine_classes(EVEN, same)

    np.testing.assert_allclose(row, [0.5, 0.5, 0.5, 0.5, 0], atol=1e-3)


def test_rows_are_of_unit_length() -> None:
    logits = np.random.default_rng(0).normal(size=(5, CLASSES)).astype(np.float32)

    rows = combine_classes(logits, EMBEDDINGS)

    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
