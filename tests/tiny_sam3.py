"""A SAM 3 folder with random weights, as small as the architecture lets it be: for tests of what is done with a model, and
not of what it has learnt. Its tracker never loses an object, so that there is something to follow.
"""

import functools
import json
import shutil
import tempfile
from pathlib import Path

import torch

from argus_ray.synthetic.sam3_model import Architecture, new_image_model, new_video_model, save, train_clip_tokenizer

SIZE = Architecture(
    image_size=56,
    vision_width=32,
    vision_layers=2,
    encoder_layers=1,
    decoder_layers=1,
    queries_a_side=3,
    text_width=32,
    text_layers=1,
)


def write(folder: Path, *, tracker: str = "video", score_threshold: float = 0.0) -> Path:
    """The same weights every time, in this folder."""
    shutil.copytree(_made(), folder, dirs_exist_ok=True)
    (folder / "argus.json").write_text(json.dumps({"tracker": tracker, "score_threshold": score_threshold}))
    return folder


@functools.cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tiny-sam3-"))
    torch.manual_seed(11)
    tokenizer = train_clip_tokenizer(600)
    model = new_video_model(new_image_model(SIZE, tokenizer))
    with torch.no_grad():
        model.tracker_model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(8)
    save(model, tokenizer, folder, {})
    return folder
