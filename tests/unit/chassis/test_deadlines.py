import pytest

from chassis.deadlines import Deadline
from chassis.errors import DeadlineExceeded


def test_stages_share_what_is_left() -> None:
    now = [100.0]
    deadline = Deadline(10, clock=lambda: now[0])
    assert deadline.share(0.5) == 5
    now[0] = 106
    assert deadline.share(0.5) == 2
    assert deadline.left_s == 4


def test_no_stage_begins_after_the_end() -> None:
    now = [100.0]
    deadline = Deadline(1, clock=lambda: now[0])
    now[0] = 102
    assert deadline.left_s == 0
    with pytest.raises(DeadlineExceeded):
        deadline.share(1)
