"""Train the demo's SAM 3 from nothing, on one CPU core in about an hour and a half.

    python -m argus_ray.synthetic.train_sam3 --out weights/

The model is an ordinary SAM 3, as `facebook/sam3` is, only small. It learns in an order, since from scratch on one core it
otherwise learns to paint every thing and not to listen:
1. `see`: the vision tower alone, with a head on every patch that is asked what is there, from the exact masks that a drawn
   world has for free. Shapes are what takes time.
2. `name`: the text encoder and the scoring, on what the tower sees of each thing: which phrases fit it?
3. `find`: everything. Beside DETR's losses each layer of the encoder is asked which patches are part of what the phrase
   means; true and false phrases count alike.
4. `point` (`train_sam3_tracker`): the tracker's answer to a click or a box on a picture, the detector as it is.
5. `follow` (`train_sam3_memory`): the tracker's memory, from frame to frame.

Heads that only teach are not saved. What is saved is the running mean of the weights. Pairs of `scene.HELD_OUT` appear
neither in pictures nor in phrases.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import Sam3Model, Sam3VideoModel

from argus_ray.synthetic.evaluate_sam3 import ask, ask_exemplars, best_threshold, draw_frames, f1, measure
from argus_ray.synthetic.sam3_learner import Learner, Phase, Recipe, Step, as_map, keep, optimizer, run, take_up
from argus_ray.synthetic.sam3_losses import Asked, Found, find_loss, where_loss
from argus_ray.synthetic.sam3_model import new_video_model, save
from argus_ray.synthetic.sam3_scenes import MAX_THINGS, Views, concepts, exemplars, phrase
from argus_ray.synthetic.train_sam3_memory import ClipStock, Remembering
from argus_ray.synthetic.train_sam3_tracker import Pointing


def see(learner: Learner, phase: Phase) -> tuple[Tensor, dict[str, float]]:
    batch = learner.pool.batch(phase.pictures, phase.fresh)
    with torch.autocast("cpu", torch.bfloat16):
        seen = learner.model.vision_encoder.backbone(batch.pixels).last_hidden_state
    return learner.eyes.loss(as_map(seen.float()), batch)


@torch.no_grad()
def even_out(model: Sam3Model, batch: Views) -> None:
    """Bring each level of the neck to a spread of 1. The tower has no last norm and the neck is linear: what the encoder
    adds from the text would be lost beside a spread of ten.
    """
    levels = model.vision_encoder(batch.pixels).fpn_hidden_states
    for layer, level in zip(model.vision_encoder.neck.fpn_layers, levels, strict=True):
        spread = level.std()
        layer.proj2.weight.div_(spread)
        layer.proj2.bias.div_(spread)


def name(learner: Learner, phase: Phase) -> tuple[Tensor, dict[str, float]]:
    """Which phrases fit a thing, by the mean of what the neck says of its patches."""
    model, batch, count = learner.model, learner.pool.batch(phase.pictures, phase.fresh), learner.recipe.prompts
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            seen = model.vision_encoder.backbone(batch.pixels).last_hidden_state
        level = model.vision_encoder.neck.fpn_layers[2](as_map(seen).permute(0, 3, 1, 2)).float()
        cover = F.interpolate(batch.cover, size=level.shape[-2:], mode="area").flatten(2)
        things = torch.einsum("nkp,ndp->nkd", cover, level.flatten(2)) / cover.sum(-1, keepdim=True).clamp(min=0.2)
        things = F.layer_norm(things, things.shape[-1:])
        asked = [concepts(batch, picture, count, learner.rng) for picture in range(phase.pictures)]
        flat = [concept for row in asked for concept in row]
        ids, mask = learner.tokens([phrase(concept, learner.rng) for concept in flat])
        text = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
        scores = model.dot_product_scoring(
            decoder_hidden_states=things.repeat_interleave(count, 0)[None], text_features=text, text_mask=mask
        )[0, ..., 0].float()
    truth = torch.zeros_like(scores)
    for row, concept in enumerate(flat):
        truth[row, batch.wanted(row // count, concept)] = 1
    there = batch.seen.repeat_interleave(count, 0)
    fits = F.binary_cross_entropy_with_logits(scores[there], truth[there])
    right = ((scores[there] > 0) == (truth[there] > 0.5)).float().mean()
    words = learner.words.loss(text.float(), mask.float(), flat)
    return words + 3 * fits, {"words": float(words.detach()), "fits": float(right)}


def find(learner: Learner, phase: Phase, *, with_boxes: bool) -> tuple[Tensor, dict[str, float]]:
    recipe, rng = learner.recipe, learner.rng
    batch, count = learner.pool.batch(phase.pictures, phase.fresh), recipe.prompts
    phrases: list[str] = []
    wanted = torch.zeros(phase.pictures * count, MAX_THINGS, dtype=torch.bool)
    boxes, labels = torch.zeros(len(wanted), 2, 4), torch.full((len(wanted), 2), -10)
    for picture in range(phase.pictures):
        for number, concept in enumerate(concepts(batch, picture, count, rng)):
            row = picture * count + number
            meant = batch.wanted(picture, concept)
            words = phrase(concept, rng)
            if with_boxes:
                shown = exemplars(batch, picture, concept, rng)
                meant, boxes[row], labels[row] = shown.things, shown.boxes, shown.labels
                words = "visual" if shown.alone else words
            phrases.append(words)
            wanted[row, meant] = True
    each = torch.arange(phase.pictures).repeat_interleave(count)
    asked = Asked(batch.boxes[each], wanted, batch.cover[each], batch.cover.sum(1).clamp(max=1)[each])
    present = asked.present.numpy() > 0
    rows = np.concatenate(
        [
            rng.permutation(np.flatnonzero(present))[: recipe.true_masks],
            rng.permutation(np.flatnonzero(~present))[: recipe.false_masks],
        ]
    )
    ids, mask = learner.tokens(phrases)
    with torch.autocast("cpu", torch.bfloat16):
        patches = learner.model.vision_encoder.backbone(batch.pixels).last_hidden_state
        found, levels = answer(
            learner, patches, each, ids, mask, (boxes, labels) if with_boxes else None, torch.from_numpy(rows)
        )
    eyes, seen = learner.eyes.loss(as_map(patches.float()), batch)
    pixels, _ = learner.pixels.loss(levels[0].float().permute(0, 2, 3, 1), batch)
    loss, told = find_loss(found, asked)
    where, right = where_loss(learner.where, found, asked)
    told |= {"where": right, "shape": seen["shape"]}
    return loss + recipe.where_weight * where + eyes + 0.5 * pixels, told


def answer(
    learner: Learner,
    patches: Tensor,
    each: Tensor,
    ids: Tensor,
    mask: Tensor,
    exemplar: tuple[Tensor, Tensor] | None,
    rows: Tensor,
) -> tuple[Found, tuple[Tensor, ...]]:
    """What `Sam3Model.forward` does, with the answers of all layers, and masks for some of the prompts only (they are
    half of the cost). Prompt p is about picture `each[p]`; answers with the levels of the neck.
    """
    model = learner.model
    levels, places = model.vision_encoder.neck(as_map(patches).permute(0, 3, 1, 2))
    top, place = levels[2][each], places[2].expand(len(each), -1, -1, -1) if len(places[2]) == 1 else places[2][each]
    text = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
    if exemplar is not None:
        boxes, labels = exemplar
        with torch.autocast("cpu", enabled=False):  # pooling a box is not written for bfloat16 on a CPU
            shown = model.geometry_encoder(
                box_embeddings=boxes,
                box_mask=labels != -10,
                box_labels=labels.clamp(min=0),
                img_feats=(top.float(),),
                img_pos_embeds=(place.float(),),
            )
        text = torch.cat([text.float(), shown.last_hidden_state], 1)
        mask = torch.cat([mask, shown.attention_mask], 1)
    learner.encoded.clear()
    encoded = model.detr_encoder(vision_features=[top], text_features=text, vision_pos_embeds=[place], text_mask=mask)
    decoded = model.detr_decoder(
        vision_features=encoded.last_hidden_state,
        text_features=text,
        vision_pos_encoding=encoded.pos_embeds_flattened,
        text_mask=mask,
        spatial_shapes=encoded.spatial_shapes,
    )
    queries = decoded.intermediate_hidden_states
    scores = model.dot_product_scoring(decoder_hidden_states=queries, text_features=text, text_mask=mask)
    moved = model.detr_decoder.box_head(queries).float() + torch.logit(decoded.reference_boxes.float(), eps=1e-3)
    made = model.mask_decoder(
        decoder_queries=queries[-1][rows],
        backbone_features=[level[each[rows]] for level in levels[:3]],
        encoder_hidden_states=encoded.last_hidden_state[rows],
        prompt_features=text[rows],
        prompt_mask=mask[rows],
    )
    found = Found(
        encoded=list(learner.encoded),
        scores=scores.squeeze(-1).float(),
        boxes=moved.sigmoid(),
        presence=decoded.presence_logits.squeeze(-1).float(),
        rows=rows,
        masks=made.pred_masks.float(),
        semantic=made.semantic_seg[:, 0].float(),
    )
    return found, levels


def learn_to_see(learner: Learner, limit_s: float) -> None:
    recipe, tower = learner.recipe, learner.model.vision_encoder.backbone
    learning = optimizer([([*tower.parameters(), *learner.eyes.parameters()], 1.0)], recipe.weight_decay)
    run(
        "see",
        recipe.see,
        lambda _: see(learner, recipe.see),
        learning,
        tower,
        learner.mean.vision_encoder.backbone,
        recipe,
        limit_s=limit_s,
    )
    learner.settle()
    even_out(learner.model, learner.pool.batch(32))
    learner.mean.load_state_dict(learner.model.state_dict())


def learn_to_name(learner: Learner, limit_s: float) -> None:
    recipe, model = learner.recipe, learner.model
    learning = optimizer(
        [
            (part.parameters(), 1.0)
            for part in (
                model.text_encoder,
                model.text_projection,
                model.dot_product_scoring,
                model.vision_encoder.neck.fpn_layers[2],
                learner.words,
            )
        ],
        recipe.weight_decay,
    )
    run(
        "name",
        recipe.name,
        lambda _: name(learner, recipe.name),
        learning,
        model,
        learner.mean,
        recipe,
        limit_s=limit_s,
    )
    learner.mean.load_state_dict(model.state_dict())


def learn_to_find(learner: Learner, out: Path, limit_s: float, start: int, state: dict[str, object] | None) -> None:
    recipe, model = learner.recipe, learner.model
    tower = list(model.vision_encoder.backbone.parameters())
    inside = {id(parameter) for parameter in tower}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    learning = optimizer(
        [(tower, recipe.vision_share), ([*rest, *learner.heads.parameters()], 1.0)], recipe.weight_decay
    )
    if state is not None:
        learning.load_state_dict(state)

    def check(step: int) -> None:
        threshold, scores = judge(learner)
        print(json.dumps({"step": step, **scores}), flush=True)  # noqa: T201
        save(
            new_video_model(learner.mean),
            learner.tokenizer,
            out,
            {"tracker": "untrained", "score_threshold": threshold},
        )
        keep(learner, out, "find", step, learning)

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        return find(learner, recipe.find, with_boxes=number % recipe.boxes_every == 0)

    run("find", recipe.find, step, learning, model, learner.mean, recipe, limit_s=limit_s, start=start, check=check)
    check(recipe.find.steps)
    keep(learner, out, "find")


def learn_to_point(learner: Learner, model: Sam3VideoModel, limit_s: float) -> None:
    recipe = learner.recipe
    pointing = Pointing(model, learner.pool, recipe.point, recipe.things)
    improve(learner, "point", recipe.point, pointing.step, pointing.parts, limit_s)


def learn_to_follow(learner: Learner, model: Sam3VideoModel, limit_s: float) -> None:
    recipe = learner.recipe
    pointing = Pointing(model, learner.pool, recipe.follow, recipe.things)
    remembering = Remembering(
        model, ClipStock(model, recipe.clips, recipe.architecture.mask_size, learner.rng), recipe.follow
    )

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        return (
            pointing.step(number) if number % 5 == 0 else remembering.step(number)
        )  # so that pointing isn't forgotten

    parts = nn.ModuleList([model.tracker_model, pointing.where])
    improve(learner, "follow", recipe.follow, step, parts, limit_s)


def improve(learner: Learner, name: str, phase: Phase, step: Step, parts: nn.Module, limit_s: float) -> None:
    """Run a phase on parts of the tracker, and leave them as the running mean of themselves."""
    recipe, mean = learner.recipe, copy.deepcopy(parts)
    learning = optimizer([([p for p in parts.parameters() if p.requires_grad], 1.0)], recipe.weight_decay)
    run(name, phase, step, learning, parts, mean, recipe, limit_s=limit_s)
    parts.load_state_dict(mean.state_dict())


def judge(learner: Learner) -> tuple[float, dict[str, float]]:
    """The threshold that is best on frames that were not trained on, and the figures at it."""
    frames = list(draw_frames(learner.recipe.check_frames, seed=1))
    answers = [answer for frame in frames for answer in ask(learner.mean, learner.tokenizer, frame)]
    shown = [answer for frame in frames for answer in ask_exemplars(learner.mean, learner.tokenizer, frame)]
    threshold = best_threshold(answers)
    scores = measure(answers, threshold)
    return threshold, scores | {"threshold": threshold, "exemplars_f1": round(f1(shown, threshold), 3)}


PHASES = ("see", "name", "find", "point", "follow")


def train(recipe: Recipe, out: Path, limit_s: float = math.inf, *, resume: bool = False) -> None:
    """Run the recipe; the folder `out` holds the latest weights. A limit of CPU time squeezes the schedule to fit."""
    out.mkdir(parents=True, exist_ok=True)
    learner = Learner(recipe)
    state: dict[str, Any] = take_up(learner, out) if resume else {}
    behind = PHASES.index(state["phase"]) if state else -1
    costs = [cost * getattr(recipe, name).steps for name, cost in zip(PHASES, (0.25, 0.3, 1.1, 0.3, 0.6), strict=True)]
    limits = [limit_s * cost / sum(costs) for cost in costs]  # by the CPU seconds of a step
    if behind < 0:
        learn_to_see(learner, limits[0])
        keep(learner, out, "see")
    if behind < 1:
        learn_to_name(learner, limits[1])
        keep(learner, out, "name")
    if behind < 2 or (behind == 2 and state["step"]):  # the one phase that is gone on with in its middle
        learn_to_find(learner, out, limits[2], state.get("step", 0), state.get("optimizer"))
    threshold, scores = judge(learner)
    print(json.dumps(scores), flush=True)  # noqa: T201
    model = new_video_model(learner.mean).train()
    model.set_attn_implementation("eager")
    model.requires_grad_(False)
    if behind < 3:
        learn_to_point(learner, model, limits[3])
        save(model, learner.tokenizer, out, {"tracker": "pictures", "score_threshold": threshold})
        keep(learner, out, "point", tracker=model.state_dict())
    else:
        model.load_state_dict(state["tracker"])
    learn_to_follow(learner, model, limits[4])
    save(model, learner.tokenizer, out, {"tracker": "video", "score_threshold": threshold})
    keep(learner, out, "follow", tracker=model.state_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--minutes", type=float, default=math.inf, help="squeeze the schedule into this much CPU time")
    parser.add_argument("--resume", action="store_true", help="go on from training.pt in that folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train(Recipe(), arguments.out, arguments.minutes * 60, resume=arguments.resume)


if __name__ == "__main__":
    main()
