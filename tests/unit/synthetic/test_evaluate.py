import pytest

from argus_ray.synthetic import evaluate


def test_average_precision_by_hand():
    # hits at ranks 1, 3 and 6: (1/1 + 2/3 + 3/6) / 3
    assert evaluate.average_precision("abcdef", set("acf")) == pytest.approx((1 + 2 / 3 + 3 / 6) / 3)


def test_a_relevant_id_that_was_not_ranked_counts_as_nothing():
    assert evaluate.average_precision("ab", set("az")) == pytest.approx(1 / 2)


def test_a_perfect_ranking_scores_one_whatever_k():
    for k in (1, 2, 5):
        assert evaluate.recall("abcd", set("abc"), k) == 1
    assert evaluate.average_precision("abcd", set("abc")) == 1


def test_recall_is_the_share_found_and_hit_rate_whether_any_was():
    rankings, relevant = ["abcd", "dcba"], [set("cd"), set("z")]
    assert evaluate.mean_recall(rankings, relevant, k=3) == pytest.approx((1 / 2 + 0) / 2)
    assert evaluate.hit_rate(rankings, relevant, k=3) == pytest.approx(1 / 2)
    assert evaluate.mean_average_precision(rankings, relevant) == pytest.approx(((1 / 3 + 2 / 4) / 2 + 0) / 2)


def test_a_query_without_truth_and_a_ranking_with_repetitions_are_refused():
    with pytest.raises(ValueError, match="nothing is relevant"):
        evaluate.average_precision("ab", set())
    with pytest.raises(ValueError, match="twice"):
        evaluate.hit("aab", set("b"), k=2)
