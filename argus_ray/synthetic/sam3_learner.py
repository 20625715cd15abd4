"""What all phases of training the demo's SAM 3 share: the recipe, who learns, and the loop."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from argus_ray.synthetic.sam3_losses import Eyes, Words
from argus_ray.synthetic.sam3_model import Architecture, new_image_model, train_clip_tokenizer
from argus_ray.synthetic.sam3_scenes import ScenePool


@dataclass(frozen=True)
class Phase:
    """So many steps with a learning rate that rises over 100 and falls by a cosine to a share of itself."""

    steps: int
    pictures: int
    learning_rate: float
    last_share: float
    fresh: int  # scenes of the pool replaced at each step
    clip: float = 2.0


@dataclass(frozen=True)
class Recipe:
    architecture: Architecture = field(default_factory=Architecture)
    see: Phase = Phase(steps=1700, pictures=16, learning_rate=1.2e-3, last_share=0.1, fresh=8)
    name: Phase = Phase(steps=400, pictures=32, learning_rate=1e-3, last_share=0.5, fresh=4)
    find: Phase = Phase(steps=1750, pictures=8, learning_rate=8e-4, last_share=0.01, fresh=6)
    point: Phase = Phase(steps=3000, pictures=8, learning_rate=1e-3, last_share=0.02, fresh=4, clip=1.0)
    follow: Phase = Phase(steps=2500, pictures=8, learning_rate=6e-4, last_share=0.02, fresh=1, clip=1.0)
    prompts: int = 8  # for each picture
    true_masks: int = 10
    false_masks: int = 4
    boxes_every: int = 2
    vision_share: float = 0.15  # of the learning rate, for the vision tower while finding
    where_weight: float = 6.0
    things: int = 4  # of each picture that are pointed at
    clips: int = 500
    weight_decay: float = 0.03
    mean_decay: float = 0.998
    pool: int = 4000
    check_frames: int = 40
    seed: int = 0


Step = Callable[[int], tuple[Tensor, dict[str, float]]]
"""From the number of a step to its loss and what to tell of it."""


class Learner:
    """The model, the heads that only teach it, the running mean of its weights, and what it looks at."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        size = recipe.architecture
        self.recipe, self.rng = recipe, np.random.default_rng(recipe.seed)
        self.tokenizer = train_clip_tokenizer()
        self.model = new_image_model(size, self.tokenizer).train()
        self.model.set_attn_implementation("eager")  # on a CPU the fused kernel's backward pass takes twice as long
        self.mean = copy.deepcopy(self.model).eval()
        self.eyes, self.pixels, self.words = Eyes(size.vision_width), Eyes(size.width), Words(size.width)
        self.where = nn.ModuleList([nn.Linear(size.width, 1) for _ in range(size.encoder_layers)])
        self.heads = nn.ModuleDict({"eyes": self.eyes, "pixels": self.pixels, "words": self.words, "where": self.where})
        self.pool = ScenePool(size.image_size, size.mask_size, recipe.pool, self.rng)
        self.encoded: list[Tensor] = []  # by each layer of the encoder, the last time it ran
        for layer in self.model.detr_encoder.layers:
            layer.register_forward_hook(lambda _module, _inputs, output: self.encoded.append(output))

    def tokens(self, phrases: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask, as long as the longest: text is read from left to right, so padding would change nothing."""
        read = self.tokenizer(phrases, padding=True, return_tensors="pt")
        return read["input_ids"], read["attention_mask"].bool()

    def settle(self) -> None:
        """Between two phases: go on from the running mean, and let the mean begin again."""
        self.model.load_state_dict(self.mean.state_dict())


def as_map(patches: Tensor) -> Tensor:
    """[N, G * G, D] as [N, G, G, D]."""
    side = round(patches.shape[1] ** 0.5)
    return patches.view(len(patches), side, side, -1)


def optimizer(groups: Iterable[tuple[Iterable[nn.Parameter], float]], weight_decay: float) -> torch.optim.AdamW:
    """AdamW over groups of parameters, each with its share of the learning rate; no decay of norms and biases."""
    listed = [(list(parameters), share) for parameters, share in groups]
    return torch.optim.AdamW(
        [
            {
                "params": [p for p in parameters if (p.ndim > 1) == decays],
                "weight_decay": weight_decay * decays,
                "share": share,
            }
            for parameters, share in listed
            for decays in (True, False)
        ],
        betas=(0.9, 0.98),
    )


@torch.no_grad()
def follow(mean: nn.Module, model: nn.Module, decay: float) -> None:
    for average, current in zip(mean.parameters(), model.parameters(), strict=True):
        average.lerp_(current, 1 - decay)


def run(
    name: str,
    phase: Phase,
    step_of: Step,
    optimizer: torch.optim.AdamW,
    model: nn.Module,
    mean: nn.Module,
    recipe: Recipe,
    *,
    limit_s: float = math.inf,
    start: int = 0,
    check: Callable[[int], None] | None = None,
) -> None:
    """The steps of a phase; a limit of CPU time squeezes its schedule to fit. `check` is called every five minutes."""
    started = told_at = checked_at = time.process_time()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    told: dict[str, float] = {}
    step, done = start, start / phase.steps
    while done < 1:
        rate = phase.learning_rate * min(1, (step - start + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * rate * max(phase.last_share, 0.5 * (1 + math.cos(math.pi * done)))
        loss, said = step_of(step)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(parameters, phase.clip)
        if torch.isfinite(norm):
            optimizer.step()
        step += 1
        age = step - start
        follow(mean, model, min(recipe.mean_decay, age / (age + 10)))
        for key, value in said.items():
            told[key] = 0.97 * told.get(key, value) + 0.03 * value
        now = time.process_time()
        done = max(step / phase.steps, (now - started) / limit_s)
        if now - told_at > 30:
            told_at = now
            line = {"phase": name, "step": step, "done": round(done, 3), "minutes": round((now - started) / 60, 1)}
            print(json.dumps(line | {key: round(value, 3) for key, value in told.items()}), flush=True)  # noqa: T201
        if check is not None and now - checked_at > 300:
            check(step)
            checked_at = time.process_time()


def keep(
    learner: Learner,
    out: Path,
    phase: str,
    step: int = 0,
    optimizer: torch.optim.AdamW | None = None,
    tracker: dict[str, Tensor] | None = None,
) -> None:
    """Everything that is needed to go on from here, in `training.pt`. Step 0 is the end of the phase."""
    state = {
        "model": learner.model.state_dict(),
        "mean": learner.mean.state_dict(),
        "heads": learner.heads.state_dict(),
        "optimizer": optimizer.state_dict() if optimizer else None,
        "tracker": tracker,
        "phase": phase,
        "step": step,
    }
    torch.save(state, out / "training.pt.new")
    (out / "training.pt.new").replace(out / "training.pt")


def take_up(learner: Learner, out: Path) -> dict[str, Any]:
    """Go on from `training.pt`; answers with what it holds. What is drawn from here on is drawn by a new generator."""
    state: dict[str, Any] = torch.load(out / "training.pt", weights_only=True)
    learner.model.load_state_dict(state["model"])
    learner.mean.load_state_dict(state["mean"])
    learner.heads.load_state_dict(state["heads"])
    learner.rng = learner.pool.rng = np.random.default_rng([learner.recipe.seed, len(state["phase"]), state["step"]])
    torch.manual_seed(learner.recipe.seed + state["step"])
    return state
