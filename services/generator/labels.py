"""What of a request's features may reach the language model: names of things, never sentences."""

import structlog
from prometheus_client import Counter

from chassis.errors import InvalidArgument
from services.generator.prompt import Features, names_only

IGNORED_LABELS = Counter("backdrop_generator_ignored_labels", "Labels that were no names, and kept from the model.")

log = structlog.get_logger(__name__)


def require_names(features: Features) -> Features:
    """The features with the labels that are names, of categories that are names too.

    Raises:
        InvalidArgument: nothing is left.
    """
    known = [(category, labels) for category, labels in features if _is_name(category.replace("_", " "))]
    kept, ignored = names_only(known)
    count = len(ignored) + sum(len(labels) for _, labels in features) - sum(len(labels) for _, labels in known)
    if count:
        IGNORED_LABELS.inc(count)
        log.warning("labels_ignored", count=count)
    if not kept:
        raise InvalidArgument.of("features", "hold no name; send labels of up to five words, such as coffee mug")
    return kept


def _is_name(text: str) -> bool:
    return bool(names_only([("category", [text])])[0])
