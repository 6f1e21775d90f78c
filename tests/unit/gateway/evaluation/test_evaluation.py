import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gateway.evaluation import measures, report
from gateway.evaluation.judged import SIGNALS, BadLabels, Judged, read_labels
from gateway.evaluation.learning import learn, leave_one_out

GRADES = {"a": 3.0, "b": 2.0, "c": 0.0, "d": 0.0}


def product(name: str, informative: str, seed: int) -> Judged:
    """Twenty backgrounds, of which one signal knows the grades and the others know nothing."""
    generator = np.random.default_rng(seed)
    grades = generator.integers(0, 4, 20).astype(float)
    similarities = generator.normal(size=(20, len(SIGNALS)))
    similarities[:, SIGNALS.index(informative)] = grades / 3
    backgrounds = tuple(f"b{number}" for number in range(20))
    return Judged(name, backgrounds, grades, similarities, backgrounds, 100.0 + seed)


def products(informative: str, count: int = 6) -> list[Judged]:
    return [product(f"p{seed}", informative, seed) for seed in range(count)]


def test_the_best_order_scores_one_and_the_worst_less() -> None:
    assert measures.ndcg(["a", "b", "c", "d"], GRADES) == pytest.approx(1)
    assert measures.ndcg(["d", "c", "b", "a"], GRADES) < 0.6
    # By hand: 3 and 2 in second and fourth place, over the best order's gain.
    assert measures.ndcg(["c", "a", "d", "b"], GRADES) == pytest.approx(
        (3 / np.log2(3) + 2 / np.log2(5)) / (3 + 2 / np.log2(3))
    )


def test_what_was_not_found_counts_as_last() -> None:
    assert measures.ndcg(["b"], GRADES) < measures.ndcg(["b", "a"], GRADES)
    assert measures.recall([], GRADES) == 0
    assert measures.reciprocal_rank([], GRADES) == 0


def test_recall_and_reciprocal_rank_look_for_good_ones() -> None:
    assert measures.recall(["c", "a", "x", "y", "z", "b"], GRADES) == 0.5
    assert measures.reciprocal_rank(["c", "a", "b"], GRADES) == 0.5


def test_coverage_is_how_much_answers_differ() -> None:
    assert measures.coverage([["a", "b"], ["a", "b"]]) == 0.5
    assert measures.coverage([["a", "b"], ["c", "d"]]) == 1


@pytest.mark.parametrize("informative", ["image", "keywords"])
def test_the_signal_that_knows_gets_the_weight(informative: str) -> None:
    weights = dict(zip(SIGNALS, learn(products(informative), SIGNALS), strict=True))

    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) >= 0
    assert weights[informative] == max(weight for name, weight in weights.items() if name != "text")


def test_a_product_teaches_nothing_about_itself() -> None:
    ordinary = products("image", 4)
    stranger = product("stranger", "keywords", 99)

    weights = leave_one_out([*ordinary, stranger], SIGNALS)["stranger"]

    np.testing.assert_allclose(weights, learn(ordinary, SIGNALS))


def test_the_ablation_shows_what_a_signal_adds() -> None:
    made = report.evaluate(products("color"))

    ndcg = {name: values["nDCG@10"] for name, values in made.ablation.items()}
    assert ndcg["text + color"] > ndcg["text"] + 0.1
    assert ndcg["all signals"] > ndcg["text"]
    assert list(ndcg) == ["text", *(f"text + {each}" for each in SIGNALS[1:]), "all signals"]


def test_too_few_products_teach_nothing_that_could_be_measured() -> None:
    assert report.evaluate(products("color", 2)).ablation == {}


def test_a_report_is_saved_read_and_drawn(tmp_path: Path) -> None:
    made = report.evaluate(products("color", 3))
    report.save(made, tmp_path / "run.json")

    assert report.load(tmp_path / "run.json") == made
    report.plot(made, made, tmp_path / "plots" / "eval.png")
    with Image.open(tmp_path / "plots" / "eval.png") as plot:
        assert plot.width > 800
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(BadLabels, match="no saved evaluation"):
        report.load(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no grades"),
        ("nonsense", "line 1 is not like"),
        ('{"product": "a.jpg"}', "line 1 is not like"),
        ('{"product": "a.jpg", "grades": {"b": -1}}', "whole numbers"),
        ('{"product": "a.jpg", "grades": {"b": 0.5}}', "whole numbers"),
        ('{"product": "a.jpg", "grades": {"b": 0}}', "nothing to find"),
    ],
)
def test_bad_labels_say_where_and_why(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(text)
    with pytest.raises(BadLabels, match=complaint):
        read_labels(path)


def test_labels_are_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps({"product": "a.jpg", "grades": {"b": 3, "c": 0}}) + "\n\n")
    assert read_labels(path) == {"a.jpg": {"b": 3, "c": 0}}
