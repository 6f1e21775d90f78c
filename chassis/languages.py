"""BCP 47 tags."""


def is_english(language: str) -> bool:
    """Whether a tag names English, of whatever region; none means English too."""
    return language.lower().partition("-")[0] in ("", "en")
