"""A certificate that expires under load."""

from pathlib import Path

from tests.chaos.certificates import expire


async def test_who_is_connected_does_not_notice_and_a_new_certificate_lets_everybody_in(tmp_path: Path) -> None:
    seen = await expire(tmp_path)
    assert seen.kept_calls > 10
    assert not seen.kept_errors
    assert seen.refused > 0
    assert seen.admitted == 0
    assert seen.new_errors == {"UNAVAILABLE UNAVAILABLE"}
