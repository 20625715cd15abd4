import pytest
from transformers import Sam3Model, Sam3TrackerModel, Sam3TrackerVideoModel, Sam3VideoModel

from argus_ray.models.loading import DEMO_MODELS
from argus_ray.synthetic.evaluate_sam3 import evaluate

FOLDER = DEMO_MODELS / "sam3"


@pytest.mark.parametrize(
    ("model_class", "renamed"),
    [
        (Sam3Model, {}),
        (Sam3TrackerModel, {"key_mapping": {r"^tracker_model\.": ""}}),
        (Sam3TrackerVideoModel, {}),
        (Sam3VideoModel, {}),
    ],
    ids=lambda it: getattr(it, "__name__", ""),
)
def test_every_class_of_the_family_loads_whole_from_the_shipped_folder(model_class, renamed):
    _, info = model_class.from_pretrained(FOLDER, output_loading_info=True, **renamed)
    assert not any(info[fault] for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_the_shipped_model_finds_points_and_follows():
    """Floors well under the card's figures, which are of 200 frames; these are of few, and of other seeds."""
    scores = evaluate(FOLDER, frames=10, seed=5)
    assert scores["f1"] > 0.7
    assert scores["presence_accuracy"] > 0.85
    assert scores["mask_iou_of_hits"] > 0.75
    assert scores["click_mask_iou"] > 0.6
    assert scores["box_mask_iou"] > 0.7
    assert scores["tracked_mask_iou"] > 0.4
