"""What SAM 3 is shown and asked while it learns: drawn pictures with exact masks, and phrases that are true or nearly so."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from argus_ray.synthetic.language import with_article
from argus_ray.synthetic.sam3_model import plural
from argus_ray.synthetic.scene import COLOURS, HELD_OUT, Scene, Thing, random_scene, render, training_pair
from argus_ray.synthetic.shapes import SHAPES

ASPECT = 16 / 9  # scenes are drawn as this shape squashed to a square, since that is what the processor makes of video
MAX_THINGS = 6
COLOUR_NAMES, SHAPE_NAMES = list(COLOURS), list(SHAPES)
NOTHING = (
    -1
)  # the shape of a place in a batch that holds no thing; the colour of a thing that has no name for its colour

_SEEN_SHARE = 0.0015  # of the picture: a thing of which less is seen is not asked for
_PALETTE = np.array(list(COLOURS.values()), dtype=np.float64)


@dataclass(frozen=True)
class Concept:
    """What a phrase asks for: a colour and a shape by number, of which one may be left open."""

    colour: int | None
    shape: int | None

    @property
    def held_out(self) -> bool:
        if self.colour is None or self.shape is None:
            return False
        return (COLOUR_NAMES[self.colour], SHAPE_NAMES[self.shape]) in HELD_OUT


@dataclass(frozen=True)
class Views:
    """A batch of N pictures with room for K things each, M mask pixels a side.

    `boxes` are centre, width and height as fractions; `cover` is the share of each mask pixel that a thing covers.
    """

    pixels: Tensor  # float [N, 3, S, S] in ±1
    cover: Tensor  # float [N, K, M, M]
    boxes: Tensor  # float [N, K, 4]
    seen: Tensor  # bool [N, K]
    colours: Tensor  # int64 [N, K]
    shapes: Tensor  # int64 [N, K]

    def wanted(self, picture: int, concept: Concept) -> list[int]:
        """The things of a picture that a concept means."""
        fits = self.seen[picture].clone()
        if concept.colour is not None:
            fits &= self.colours[picture] == concept.colour
        if concept.shape is not None:
            fits &= self.shapes[picture] == concept.shape
        places: list[int] = torch.nonzero(fits)[:, 0].tolist()
        return places


class ScenePool:
    """Drawn scenes to take batches from, of which a few are replaced at every step."""

    def __init__(self, image_size: int, mask_size: int, scenes: int, rng: np.random.Generator) -> None:
        self.rng, self.size, self.mask_size = rng, image_size, mask_size
        self.rgb = torch.empty((scenes, image_size, image_size, 3), dtype=torch.uint8)
        self.ids = torch.empty((scenes, image_size, image_size), dtype=torch.uint8)
        self.colours = torch.full((scenes, MAX_THINGS), NOTHING)
        self.shapes = torch.full((scenes, MAX_THINGS), NOTHING)
        self.next = 0
        for _ in range(scenes):
            self.draw()

    def draw(self) -> None:
        """Replace the oldest scene by a new one, a little blurred or compressed as pictures of a video are."""
        place = self.next
        sizes = (0.1, 0.42) if self.rng.random() < 0.4 else (0.13, 0.37)
        scene = repaint(
            alike(random_scene(self.rng, (1, MAX_THINGS), sizes, training_pair, ASPECT), self.rng), self.rng
        )
        drawing = render(scene, self.size, self.size, ASPECT)
        self.rgb[place] = torch.from_numpy(worn(drawing.rgb, self.rng))
        self.ids[place] = torch.from_numpy(drawing.ids)
        self.colours[place], self.shapes[place] = NOTHING, NOTHING
        for number, thing in enumerate(scene.things):
            self.shapes[place, number] = SHAPE_NAMES.index(thing.shape)
            self.colours[place, number] = COLOUR_NAMES.index(thing.colour) if thing.colour in COLOURS else NOTHING
        self.next = (place + 1) % len(self.rgb)

    def batch(self, size: int, fresh: int = 0) -> Views:
        """So many pictures, moved, mirrored and tinted, after so many new scenes have been drawn."""
        for _ in range(fresh):
            self.draw()
        chosen = torch.from_numpy(self.rng.integers(len(self.rgb), size=size))
        pixels = self.rgb[chosen].permute(0, 3, 1, 2).float()
        ids = self.ids[chosen][:, None].float()
        theta = torch.zeros(size, 2, 3)
        theta[:, 0, 0] = torch.empty(size).uniform_(0.92, 1.08) * torch.where(torch.rand(size) < 0.5, -1.0, 1.0)
        theta[:, 1, 1] = torch.empty(size).uniform_(0.92, 1.08)
        theta[:, :, 2] = torch.empty(size, 2).uniform_(-0.08, 0.08)
        grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
        pixels = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
        # what reflection shows at the rim a second time is a thing as well: its mask goes with it
        ids = F.grid_sample(ids, grid, mode="nearest", padding_mode="reflection", align_corners=False)[:, 0]
        pixels = pixels * torch.empty(size, 1, 1, 1).uniform_(0.88, 1.12) + 4 * torch.randn(size, 3, 1, 1)
        pixels = pixels + torch.empty(size, 1, 1, 1).uniform_(0, 5) * torch.randn_like(pixels)
        return views(
            pixels.clamp(0, 255) / 127.5 - 1, ids.byte(), self.colours[chosen], self.shapes[chosen], self.mask_size
        )


def views(pixels: Tensor, ids: Tensor, colours: Tensor, shapes: Tensor, mask_size: int) -> Views:
    """From pictures and the ids of their things, uint8 [N, S, S], to what is asked about them."""
    masks = torch.stack([ids == k + 1 for k in range(MAX_THINGS)], 1)
    size = ids.shape[-1]
    rows, columns = masks.any(3), masks.any(2)

    def ends(line: Tensor) -> tuple[Tensor, Tensor]:
        first = line.int().argmax(-1)
        return first / size, (size - line.flip(-1).int().argmax(-1)) / size

    (top, bottom), (left, right) = ends(rows), ends(columns)
    return Views(
        pixels=pixels,
        cover=F.interpolate(masks.float(), size=(mask_size, mask_size), mode="area"),
        boxes=torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], -1),
        seen=(masks.float().mean((2, 3)) > _SEEN_SHARE) & (shapes != NOTHING),
        colours=colours,
        shapes=shapes,
    )


def alike(scene: Scene, rng: np.random.Generator) -> Scene:
    """In a third of the scenes let some things be of the kind of the first: several of a kind are what is hardest to tell
    apart.
    """
    if not scene.things or rng.random() >= 1 / 3:
        return scene
    first = scene.things[0]

    def kin(thing: Thing) -> Thing:
        if rng.random() >= 0.5:
            return thing
        return replace(thing, shape=first.shape, colour=first.colour, rgb=first.rgb)

    return replace(scene, things=tuple(kin(thing) for thing in scene.things))


def repaint(scene: Scene, rng: np.random.Generator) -> Scene:
    """Give one thing in twelve a colour that has no name here, so that a shape is not known by its colours."""

    def painted(thing: Thing) -> Thing:
        if rng.random() >= 1 / 12:
            return thing
        while True:
            rgb = rng.integers(20, 246, 3)
            if np.linalg.norm(_PALETTE - rgb, axis=1).min() > 85:
                return replace(thing, colour="", rgb=(int(rgb[0]), int(rgb[1]), int(rgb[2])))

    return replace(scene, things=tuple(painted(thing) for thing in scene.things))


def worn(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture as it comes out of a video: half are a little blurred, half are compressed."""
    picture = Image.fromarray(rgb)
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
    if rng.random() < 0.5:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(60, 95)))
        picture = Image.open(file)
    return np.array(picture)


def concepts(batch: Views, picture: int, count: int, rng: np.random.Generator) -> list[Concept]:
    """Things to ask of a picture, every other one true, the others mostly with one attribute right.

    None is a pair of `HELD_OUT`.
    """
    present: list[int] = torch.nonzero(batch.seen[picture])[:, 0].tolist()
    asked: list[Concept] = []
    while len(asked) < count:
        thing = present[rng.integers(len(present))] if present else 0
        colour, shape = int(batch.colours[picture, thing]), int(batch.shapes[picture, thing])
        other_colour, other_shape = int(rng.integers(len(COLOUR_NAMES))), int(rng.integers(len(SHAPE_NAMES)))
        chance = rng.random()
        several = [it for it in present if int((batch.shapes[picture, present] == batch.shapes[picture, it]).sum()) > 1]
        if len(asked) % 4 == 0 and several:  # every other true concept, if it can, means several things
            shape = int(batch.shapes[picture, several[rng.integers(len(several))]])
            concept = Concept(None, shape)
        elif len(asked) % 2 == 0 and present:
            concept = (
                Concept(colour, shape)
                if chance < 0.62 and colour != NOTHING
                else Concept(None, shape)
                if chance < 0.92 or colour == NOTHING
                else Concept(colour, None)
            )
        elif chance < 0.3 and present:
            concept = Concept(other_colour, shape)
        elif chance < 0.5 and present and colour != NOTHING:
            concept = Concept(colour, other_shape)
        elif chance < 0.65 and len(present) > 1:  # the colour of one thing and the shape of another
            second = int(batch.shapes[picture, present[rng.integers(len(present))]])
            concept = Concept(colour if colour != NOTHING else other_colour, second)
        elif chance < 0.9:
            concept = Concept(None, other_shape)
        elif chance < 0.95:
            concept = Concept(other_colour, None)
        else:
            concept = Concept(other_colour, other_shape)
        if not concept.held_out:
            asked.append(concept)
    return asked


def phrase(concept: Concept, rng: np.random.Generator | None = None) -> str:
    """How people name it; without a generator the bare words: "red car", "car", "red object"."""
    singular = "object" if concept.shape is None else SHAPE_NAMES[concept.shape]
    many = "objects" if concept.shape is None else plural(singular)
    colour = "" if concept.colour is None else f"{COLOUR_NAMES[concept.colour]} "
    chance = 1.0 if rng is None else rng.random()
    if chance < 0.25:
        return with_article(colour + singular)
    if chance < 0.3:
        return f"the {colour}{singular}"
    if chance < 0.45:
        return colour + many
    return colour + singular


@dataclass(frozen=True)
class Exemplars:
    """Up to two boxes that show what is meant, and the things that are meant by them and by the words.

    `labels` are 1 (like this), 0 (not like this), -10 (no box). `alone`: the boxes stand without words.
    """

    boxes: Tensor  # float [2, 4]
    labels: Tensor  # int64 [2]
    things: list[int]
    alone: bool


def exemplars(batch: Views, picture: int, concept: Concept, rng: np.random.Generator) -> Exemplars:
    """Show a concept by boxes: everything of the colour and shape that a box shows, or what the words mean but for that.

    A concept that is not in the picture gets a box on nothing, where there is room for one.
    """
    boxes, labels = torch.zeros(2, 4), torch.full((2,), -10)
    present: list[int] = torch.nonzero(batch.seen[picture])[:, 0].tolist()
    meant = batch.wanted(picture, concept)
    chance = rng.random()

    def like(thing: int) -> list[int]:
        colour, shape = batch.colours[picture], batch.shapes[picture]
        same = batch.seen[picture] & (colour == colour[thing]) & (shape == shape[thing])
        alike: list[int] = torch.nonzero(same)[:, 0].tolist()
        return alike

    def show(place: int, thing: int, label: int) -> None:
        box = batch.boxes[picture, thing]
        wobble = torch.from_numpy(rng.normal(0, 0.04, 4).astype(np.float32)) * box[2:].repeat(2)
        boxes[place], labels[place] = (box + wobble).clamp(0.01, 0.99), label

    if not present:
        boxes[0], labels[0] = torch.tensor([0.5, 0.5, 0.2, 0.3]), 1
        return Exemplars(boxes, labels, [], alone=True)
    if len(meant) > 1 and chance < 0.4:  # "cars", but none like this one
        other = meant[rng.integers(len(meant))]
        show(0, other, 0)
        return Exemplars(boxes, labels, [thing for thing in meant if thing not in like(other)], alone=False)
    if meant and chance < 0.65:  # "cars", such as this one
        show(0, meant[rng.integers(len(meant))], 1)
        return Exemplars(boxes, labels, meant, alone=False)
    if not meant and chance < 0.3:
        for _ in range(8):
            box = torch.from_numpy(rng.uniform((0.1, 0.15, 0.08, 0.15), (0.9, 0.85, 0.3, 0.5)).astype(np.float32))
            apart = (box[:2] - batch.boxes[picture, present, :2]).abs() * 2 > box[2:] + batch.boxes[
                picture, present, 2:
            ]
            if bool(apart.any(1).all()):
                boxes[0], labels[0] = box, 1
                return Exemplars(boxes, labels, [], alone=True)
    first = meant[rng.integers(len(meant))] if meant else present[rng.integers(len(present))]
    show(0, first, 1)
    others = [thing for thing in present if thing not in like(first)]
    if others and rng.random() < 0.5:
        show(1, others[rng.integers(len(others))], 0)
    return Exemplars(boxes, labels, like(first), alone=True)
