"""What of a request's features may reach the language model: names of things, never sentences."""

import re

import structlog
from prometheus_client import Counter

from chassis.errors import InvalidArgument
from services.generator.prompt import Features

IGNORED_LABELS = Counter("backdrop_generator_ignored_labels", "Labels that were no names, and kept from the model.")

NAME = re.compile(r"[^\W_]+([ '&/.-]{1,3}[^\W_]+){0,4}\.?")
"""What names a thing: up to five words. A longer label is a sentence, and could be an instruction."""

log = structlog.get_logger(__name__)


def require_names(features: Features) -> Features:
    """The features with the labels that are names, of categories that are names too.

    Raises:
        InvalidArgument: nothing is left.
    """
    kept, ignored = names_only(features)
    if ignored:
        IGNORED_LABELS.inc(len(ignored))
        log.warning("labels_ignored", count=len(ignored))
    if not kept:
        raise InvalidArgument.of("features", "hold no name; send labels of up to five words, such as coffee mug")
    return kept


def names_only(features: Features) -> tuple[Features, list[str]]:
    """The features with the labels that are names, and the labels that are not: those could be instructions."""
    kept, ignored = [], []
    for category, labels in features:
        is_named = NAME.fullmatch(category.replace("_", " "))
        names = [label for label in labels if is_named and NAME.fullmatch(label)]
        ignored += [label for label in labels if label not in names]
        if names:
            kept.append((category, names))
    return kept, ignored
