"""Train the demo's SigLIP 2 from nothing, on one CPU core in about three quarters of an hour.

    python -m argus_ray.synthetic.train_siglip2 --out weights/

The model is an ordinary `SiglipModel`, as `google/siglip2-base-patch16-224` is, only small. Three things make it learn
from so little:
- A head on every patch first learns which shape and colour is there, from the exact masks that a drawn world has for
  free; it goes on beside the rest and is not saved. Shapes are what takes time: without this they are hardly learnt.
- Within a batch every sentence is judged against every picture by its meaning, not only against its own picture: with
  few words many sentences are true of several pictures (sigmoid loss of SigLIP, arXiv 2303.15343, over that matrix).
- Sentences are mostly as short as what people type, and wrong ones that differ in one word are added to each batch.

What is saved is the running mean of the weights. Pairs of `scene.HELD_OUT` appear neither in pictures nor in sentences.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import Siglip2Tokenizer, SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

from argus_ray.synthetic import evaluate
from argus_ray.synthetic.language import BARE_QUERIES, Query, bare, caption, is_true_of, remark, vocabulary
from argus_ray.synthetic.scene import COLOURS, HELD_OUT, Scene, random_scene, render, training_pair
from argus_ray.synthetic.shapes import SHAPES
from argus_ray.synthetic.tokenizer import TEXT_LENGTH, train_tokenizer

ASPECT = 16 / 9  # scenes are drawn as this shape squashed to a square, since that is what the processor makes of video
MAX_THINGS = 3
COLOUR_NAMES, SHAPE_NAMES = list(COLOURS), list(SHAPES)


@dataclass(frozen=True)
class Recipe:
    image_size: int = 128
    patch: int = 16
    width: int = 192
    heads: int = 3
    vision_layers: int = 4
    text_layers: int = 2
    batch: int = 64
    hard_texts: int = 20
    patch_steps: int = 800
    steps: int = 4200
    warmup_steps: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    patch_weight: float = 1.0
    mean_decay: float = 0.998
    pool: int = 12_000
    fresh: int = 16
    check_every: int = 400
    gallery: int = 400
    seed: int = 0


class Pool:
    """Drawn scenes to draw batches from, of which a few are replaced at every step."""

    def __init__(self, recipe: Recipe, rng: np.random.Generator) -> None:
        self.rng, self.size = rng, recipe.image_size
        self.scenes: list[Scene] = []
        self.rgb = torch.empty((recipe.pool, self.size, self.size, 3), dtype=torch.uint8)
        self.ids = torch.empty((recipe.pool, self.size, self.size), dtype=torch.uint8)
        self.next = 0
        while len(self.scenes) < recipe.pool:
            self.draw()

    def draw(self) -> None:
        """Replace the oldest scene by a new one, a little blurred or compressed as pictures of a video are."""
        rng, place = self.rng, self.next
        sizes = (0.1, 0.42) if rng.random() < 0.5 else (0.16, 0.36)
        scene = random_scene(rng, (1, MAX_THINGS), sizes, training_pair, ASPECT)
        drawing = render(scene, self.size, self.size, ASPECT)
        picture = Image.fromarray(drawing.rgb)
        if rng.random() < 0.5:
            picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
        if rng.random() < 0.4:
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=int(rng.integers(50, 95)))
            picture = Image.open(file)
        self.rgb[place] = torch.from_numpy(np.array(picture))
        self.ids[place] = torch.from_numpy(drawing.ids)
        if place == len(self.scenes):
            self.scenes.append(scene)
        else:
            self.scenes[place] = scene
        self.next = (place + 1) % len(self.rgb)

    def batch(self, size: int) -> tuple[Tensor, Tensor, list[Scene]]:
        """Pictures float [B, 3, S, S] in ±1 and thing ids [B, S, S], moved, mirrored and tinted, with their scenes."""
        chosen = self.rng.integers(len(self.scenes), size=size)
        pixels = self.rgb[chosen].permute(0, 3, 1, 2).float()
        ids = self.ids[chosen][:, None].float()
        theta = torch.zeros(size, 2, 3)
        theta[:, 0, 0] = torch.empty(size).uniform_(0.9, 1.1) * torch.where(torch.rand(size) < 0.5, -1.0, 1.0)
        theta[:, 1, 1] = torch.empty(size).uniform_(0.9, 1.1)
        theta[:, :, 2] = torch.empty(size, 2).uniform_(-0.08, 0.08)
        grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
        pixels = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
        ids = F.grid_sample(ids, grid, mode="nearest", padding_mode="zeros", align_corners=False)[:, 0]
        pixels = pixels * torch.empty(size, 1, 1, 1).uniform_(0.85, 1.15) + 5 * torch.randn(size, 3, 1, 1)
        pixels = pixels + torch.empty(size, 1, 1, 1).uniform_(0, 6) * torch.randn_like(pixels)
        return pixels.clamp(0, 255) / 127.5 - 1, ids, [self.scenes[i] for i in chosen]


def new_model(recipe: Recipe, tokenizer: Siglip2Tokenizer) -> SiglipModel:
    tower = {
        "hidden_size": recipe.width,
        "intermediate_size": 3 * recipe.width,
        "num_attention_heads": recipe.heads,
    }
    config = SiglipConfig(
        vision_config={
            "num_hidden_layers": recipe.vision_layers,
            "image_size": recipe.image_size,
            "patch_size": recipe.patch,
            **tower,
        },
        text_config={
            "num_hidden_layers": recipe.text_layers,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": TEXT_LENGTH,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            **tower,
        },
    )
    model = SiglipModel(config)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(10))
        model.logit_bias.fill_(-6)
    return model


def new_patch_head(recipe: Recipe) -> nn.Module:
    """Per patch: is there a thing, which shape, which colour."""
    answers = 1 + len(SHAPES) + len(COLOURS)
    return nn.Sequential(
        nn.LayerNorm(recipe.width), nn.Linear(recipe.width, recipe.width), nn.GELU(), nn.Linear(recipe.width, answers)
    )


def patch_loss(answers_BPA: Tensor, ids: Tensor, scenes: list[Scene], patch: int) -> tuple[Tensor, float]:  # noqa: N803
    """Loss of the patch head, and how often it names the shape right. A patch shows the thing that covers most of it,
    if that is more than 0.3 of it.
    """
    cover_BKP = torch.stack(  # noqa: N806
        [F.avg_pool2d((ids == k + 1).float()[:, None], patch).flatten(1) for k in range(MAX_THINGS)], 1
    )
    share, thing = cover_BKP.max(1)
    seen = share > 0.3
    shapes = torch.zeros(len(scenes), MAX_THINGS, dtype=torch.long)
    colours = torch.zeros_like(shapes)
    for row, scene in enumerate(scenes):
        for column, it in enumerate(scene.things):
            shapes[row, column] = SHAPE_NAMES.index(it.shape)
            colours[row, column] = COLOUR_NAMES.index(it.colour)
    shape, colour = shapes.gather(1, thing)[seen], colours.gather(1, thing)[seen]
    named = answers_BPA[..., 1:][seen]
    by_shape, by_colour = named[:, : len(SHAPES)], named[:, len(SHAPES) :]
    loss = (
        2 * F.binary_cross_entropy_with_logits(answers_BPA[..., 0], seen.float())
        + F.cross_entropy(by_shape, shape)
        + 0.5 * F.cross_entropy(by_colour, colour)
    )
    return loss, float((by_shape.argmax(-1) == shape).float().mean())


def sentences(scenes: list[Scene], hard: int, rng: np.random.Generator) -> list[Query]:
    """One remark on each scene and some that are nearly right: another colour, another shape, or two things mixed up."""
    queries = {query.text: query for query in (remark(scene, rng) for scene in scenes)}
    wanted = len(queries) + hard
    while len(queries) < wanted:
        things = scenes[rng.integers(len(scenes))].things
        one, other = things[rng.integers(len(things))], things[rng.integers(len(things))]
        colour, shape = [
            (one.colour, other.shape),
            (str(rng.choice(COLOUR_NAMES)), one.shape),
            (one.colour, str(rng.choice(SHAPE_NAMES))),
        ][rng.integers(3)]
        if training_pair(colour, shape):
            query = bare(colour, shape)
            queries.setdefault(query.text, query)
            wanted -= rng.random() < 0.05  # a batch may hold all there is to ask
    return list(queries.values())


def match_loss(logits_IT: Tensor, queries: list[Query], scenes: list[Scene]) -> Tensor:  # noqa: N803
    """SigLIP's loss: each pair of picture and sentence is true (+1) or false (-1) on its own."""
    truth = torch.tensor([[1.0 if is_true_of(query, scene) else -1.0 for query in queries] for scene in scenes])
    return -F.logsigmoid(truth * logits_IT).sum(1).mean()


def token_ids(tokenizer: Siglip2Tokenizer, texts: list[str]) -> Tensor:
    ids: Tensor = tokenizer(texts, padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt")[
        "input_ids"
    ]
    return ids


@torch.no_grad()
def judge(model: SiglipModel, tokenizer: Siglip2Tokenizer, recipe: Recipe) -> dict[str, float]:
    """Retrieval among stills that were not trained on, all pairs included."""
    model.eval()
    rng = np.random.default_rng(recipe.seed + 1_000_003)
    scenes = [random_scene(rng, (1, 2)) for _ in range(recipe.gallery)]
    rgb = np.stack([render(scene, recipe.image_size, recipe.image_size, ASPECT).rgb for scene in scenes])
    pixels = torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 127.5 - 1
    pictures = F.normalize(
        torch.cat([model.get_image_features(pixel_values=part).pooler_output for part in torch.split(pixels, 50)]),
        dim=-1,
    )

    def ranked(queries: list[Query]) -> tuple[list[list[int]], list[set[int]]]:
        texts = token_ids(tokenizer, [query.text for query in queries])
        words = F.normalize(model.get_text_features(input_ids=texts).pooler_output, dim=-1)
        order: list[list[int]] = (words @ pictures.T).argsort(dim=1, descending=True).tolist()
        return order, [{i for i, scene in enumerate(scenes) if is_true_of(query, scene)} for query in queries]

    asked = [query for query in BARE_QUERIES if any(is_true_of(query, scene) for scene in scenes)]
    unseen = [query for query in asked if query.things[0] in HELD_OUT]
    captions = list({query.text: query for query in map(caption, scenes[:200])}.values())
    return {
        "map_bare": round(evaluate.mean_average_precision(*ranked(asked)), 3),
        "map_bare_unseen": round(evaluate.mean_average_precision(*ranked(unseen)), 3),
        "hit_at_1": round(evaluate.hit_rate(*ranked(captions), k=1), 3),
        "hit_at_5": round(evaluate.hit_rate(*ranked(captions), k=5), 3),
        "captions": len(captions),
    }


def save(model: SiglipModel, tokenizer: Siglip2Tokenizer, recipe: Recipe, out: Path) -> None:
    """A folder that `AutoModel` and `AutoProcessor` load: half-precision weights, tokenizer, processor."""
    copy.deepcopy(model).half().save_pretrained(out)
    size = {"height": recipe.image_size, "width": recipe.image_size}
    SiglipProcessor(SiglipImageProcessor(size=size, resample=Image.Resampling.BILINEAR), tokenizer).save_pretrained(out)


def train(recipe: Recipe, out: Path, limit_s: float = math.inf) -> dict[str, float]:
    """Run the recipe and keep the best checked weights in `out`. A limit of CPU time squeezes the schedule to fit."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    tokenizer = train_tokenizer(vocabulary())
    model, head = new_model(recipe, tokenizer).train(), new_patch_head(recipe)
    mean = copy.deepcopy(model).eval()
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
    )
    pool = Pool(recipe, rng)
    started, best, step, done = time.process_time(), -1.0, 0, 0.0
    shapes_right, matching, scores = 0.0, math.nan, {}
    while done < 1:
        rate = recipe.learning_rate * min(1, (step + 1) / recipe.warmup_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * max(0.01, 0.5 * (1 + math.cos(math.pi * done)))
        for _ in range(recipe.fresh):
            pool.draw()
        pixels, ids, scenes = pool.batch(recipe.batch)
        with torch.autocast("cpu", torch.bfloat16):
            vision = model.vision_model(pixel_values=pixels)
        loss, right = patch_loss(head(vision.last_hidden_state.float()), ids, scenes, recipe.patch)
        if done >= recipe.patch_steps / recipe.steps:
            queries = sentences(scenes, recipe.hard_texts, rng)
            with torch.autocast("cpu", torch.bfloat16):
                text = model.text_model(input_ids=token_ids(tokenizer, [query.text for query in queries]))
            pictures = F.normalize(vision.pooler_output.float(), dim=-1)
            words = F.normalize(text.pooler_output.float(), dim=-1)
            logits = pictures @ words.T * model.logit_scale.exp() + model.logit_bias
            contrast = match_loss(logits, queries, scenes)
            loss = recipe.patch_weight * loss + contrast
            matching = float(contrast.detach())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        done = max(step / recipe.steps, (time.process_time() - started) / limit_s)
        shapes_right += 0.02 * (right - shapes_right)
        with torch.no_grad():
            decay = min(recipe.mean_decay, step / (step + 10))
            for average, current in zip(mean.parameters(), model.parameters(), strict=True):
                average.lerp_(current, 1 - decay)
        if step % 50 == 0:
            line = {
                "step": step,
                "done": round(done, 3),
                "shapes_right": round(shapes_right, 3),
                "loss": round(matching, 2),
            }
            print(json.dumps({**line, "minutes": round((time.process_time() - started) / 60, 1)}), flush=True)  # noqa: T201
        if (step % recipe.check_every == 0 and not math.isnan(matching)) or done >= 1:
            scores = judge(mean, tokenizer, recipe)
            print(json.dumps(scores), flush=True)  # noqa: T201
            if scores["map_bare"] > best:
                best = scores["map_bare"]
                save(mean, tokenizer, recipe, out)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--minutes", type=float, default=math.inf, help="squeeze the schedule into this much CPU time")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="optimizer steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train(Recipe(steps=arguments.steps), arguments.out, arguments.minutes * 60)


if __name__ == "__main__":
    main()
