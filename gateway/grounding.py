"""Which captions the photo supports: language models invent, the image-text model checks."""

from collections.abc import Sequence

from gateway.domain import Candidate, Draft


def judge(drafts: Sequence[Draft], scores: Sequence[float], baseline: float, margin: float) -> tuple[Candidate, ...]:
    """Keeps the drafts whose caption the photo supports about as well as the plain features.

    Re-ranking a language model's sentences by image-text score follows Socratic Models (Zeng et al. 2022).

    Args:
        drafts: what was written, n of them.
        scores: n image-text scores of their captions against the photo.
        baseline: the score of the template caption, which holds nothing but what was read from the photo.
        margin: how far below the baseline a caption may score.

    Returns:
        n candidates, the best first.
    """
    candidates = (_verdict(draft, score, baseline - margin) for draft, score in zip(drafts, scores, strict=True))
    return tuple(sorted(candidates, key=lambda candidate: -candidate.score))


def _verdict(draft: Draft, score: float, needed: float) -> Candidate:
    used = score >= needed
    relation = "reaches" if used else "is below"
    reason = f"Its image-text score {score:.2f} {relation} the {needed:.2f} that the photo's own features ask for."
    return Candidate(draft.caption, draft.scene, score, used, reason)


def unchecked(drafts: Sequence[Draft]) -> tuple[Candidate, ...]:
    """Candidates that are used although nothing checked them."""
    return tuple(Candidate(d.caption, d.scene, 0.0, True, "Not checked against the photo.") for d in drafts)
