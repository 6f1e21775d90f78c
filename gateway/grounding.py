"""Which captions the photo supports: language models invent, the image-text model checks."""

from collections.abc import Sequence

from gateway.domain import Candidate, Draft


def judge(drafts: Sequence[Draft], scores: Sequence[float], baseline: float, margin: float) -> tuple[Candidate, ...]:
    """Keeps the drafts whose caption the photo supports.

    A caption that says what was read from the photo may score a little lower than the plain features do: wording moves
    scores too. One that claims more must score higher, or the photo does not support what it adds.

    Re-ranking a language model's sentences by image-text score follows Socratic Models (Zeng et al. 2022).

    Args:
        drafts: what was written, n of them.
        scores: n image-text scores of their captions against the photo.
        baseline: the score of the template caption, which holds nothing but what was read from the photo.
        margin: how far below the baseline a caption may score that claims nothing else; and how far above it one must
            score that does.

    Returns:
        n candidates, those in use first, the best first.
    """
    candidates = (_verdict(draft, score, baseline, margin) for draft, score in zip(drafts, scores, strict=True))
    return tuple(sorted(candidates, key=lambda candidate: (not candidate.used, -candidate.score)))


def _verdict(draft: Draft, score: float, baseline: float, margin: float) -> Candidate:
    needed = baseline + margin if draft.unsupported else baseline - margin
    claims = f"It claims {_quoted(draft.unsupported)}, which no feature of the photo supports. "
    relation = "reaches" if score >= needed else "is below"
    reason = f"Its image-text score {score:.2f} {relation} the {needed:.2f} that are asked for."
    used = score >= needed and not draft.unsuitable
    return Candidate(draft, score, used, _unsuitable(draft) + (claims if draft.unsupported else "") + reason)


def _unsuitable(draft: Draft) -> str:
    shows = f"Its scene shows {_quoted(draft.unsuitable)}, which a background for the product must not. "
    return shows if draft.unsuitable else ""


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f"“{word}”" for word in words)


def unchecked(drafts: Sequence[Draft]) -> tuple[Candidate, ...]:
    """Candidates that nothing checked against the photo: those are used that claim nothing but the features."""
    return tuple(
        Candidate(
            draft=each,
            score=0.0,
            used=not each.unsupported and not each.unsuitable,
            reason=_unsuitable(each) + "Not checked against the photo.",
        )
        for each in drafts
    )
