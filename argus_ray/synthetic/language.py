"""What people ask of the drawn world, as words and as a meaning that can be held against a scene."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from argus_ray.synthetic.grounds import GROUNDS
from argus_ray.synthetic.scene import COLOURS, Scene, Thing
from argus_ray.synthetic.shapes import SHAPES


@dataclass(frozen=True)
class Query:
    """Words and what they mean: things that must all be there (colour or shape may be left open), and the ground."""

    text: str
    things: tuple[tuple[str | None, str | None], ...] = ()
    ground: str | None = None


def bare(colour: str, shape: str) -> Query:
    """What people type: "red car"."""
    return Query(f"{colour} {shape}", ((colour, shape),))


BARE_QUERIES = tuple(bare(colour, shape) for colour in COLOURS for shape in SHAPES)


def is_true_of(query: Query, scene: Scene) -> bool:
    """Whether a scene holds what the query asks for; two wanted things need two things."""
    if query.ground is not None and query.ground != scene.ground:
        return False
    return any(
        all(_fits(wanted, thing) for wanted, thing in zip(query.things, chosen, strict=True))
        for chosen in permutations(scene.things, len(query.things))
    )


def _fits(wanted: tuple[str | None, str | None], thing: Thing) -> bool:
    colour, shape = wanted
    return colour in (None, thing.colour) and shape in (None, thing.shape)


def caption(scene: Scene) -> Query:
    """The whole scene in one sentence: "a red car and a blue ball on sand"."""
    names = " and ".join(with_article(f"{thing.colour} {thing.shape}") for thing in scene.things)
    pairs = tuple((thing.colour, thing.shape) for thing in scene.things)
    return Query(f"{names} on {scene.ground}" if names else scene.ground, pairs, scene.ground)


def remark(scene: Scene, rng: np.random.Generator) -> Query:
    """Something true of a scene, said in one of the ways in which people ask: mostly short, seldom complete."""
    things = [scene.things[i] for i in rng.permutation(len(scene.things))]
    kind = rng.random()
    ground = scene.ground if rng.random() < 0.35 else None
    wanted: tuple[tuple[str | None, str | None], ...]
    if not things or kind < 0.05:
        return Query(scene.ground, (), scene.ground)
    first = things[0]
    if kind < 0.15:
        words, wanted = first.shape, ((None, first.shape),)
    elif kind < 0.22:
        words, wanted = f"{first.colour} object", ((first.colour, None),)
    elif kind < 0.7 or len(things) == 1:
        words, wanted = f"{first.colour} {first.shape}", ((first.colour, first.shape),)
    else:
        second = things[1]
        words = f"{first.colour} {first.shape} and {with_article(f'{second.colour} {second.shape}')}"
        wanted = ((first.colour, first.shape), (second.colour, second.shape))
    if rng.random() < 0.55:
        words = with_article(words)
        if rng.random() < 0.2:
            words = f"a photo of {words}"
    return Query(f"{words} on {ground}" if ground else words, wanted, ground)


def with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def vocabulary() -> list[str]:
    """Every phrase that a tokenizer of this world should know, letters and digits last."""
    names = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    phrases = [f"{with_article(name)} on {ground}" for name in names for ground in GROUNDS]
    phrases += [f"a photo of {with_article(f'{colour} object')} and" for colour in COLOURS]
    return phrases + list("abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()-")
