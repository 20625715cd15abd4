"""A dataset version as `Contents`, read from its manifest on disk: its kept pictures, or every frame of its videos."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from argus_ray.datasets import manifest
from argus_ray.datasets.records import SPLITS, Category, Clip, Contents, Frame, Instance, Picture
from argus_ray.rle import Rle
from argus_ray.schemas.annotation import Kind

_LONGEST = 80


class Version:
    """A manifest in a folder. What it holds in memory grows with videos and labels alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
        self.labels = {one["id"]: one["name"] for one in self.about["ontology"]}
        self.clips, self.names = self._clips()

    def contents(self) -> Contents:
        """Its kept pictures, in order of split, video and time."""
        about = {
            "description": "a dataset version of Argus",
            "schema_version": self.about["schema_version"],
            "content_hash": self.about["content_hash"],
        }
        categories = tuple(
            Category(one["number"], one["name"], one["colour"], tuple(one["prompts"]), tuple(one["attributes"]))
            for one in self.about["ontology"]
        )
        return Contents(categories, self.frames, tuple(self.clips.values()), about)

    def frames(self) -> Iterator[Frame]:
        for split, row, index in self._rows():
            yield Frame(
                self._picture(split, row, index),
                tuple(self.instance(one, row) for one in row["annotations"]),
                {
                    self.labels[label]: word
                    for word in ("exhaustive_present", "exhaustive_absent", "partial")
                    for label in row[word]
                },
            )

    def keyframes(self) -> Iterator[tuple[str, Iterator[tuple[int, Instance]]]]:
        """Each video's id, with the keyframes of its tracks by time."""
        path = self.folder / "tracks.parquet"
        if path.exists():
            for video_id, rows in groupby(manifest.rows(path), key=lambda row: row["video_id"]):
                yield (
                    video_id,
                    ((row["pts_us"], replace(self.instance(row, row), outside=row["outside"])) for row in rows),
                )

    def instance(self, one: Mapping[str, Any], row: Mapping[str, Any]) -> Instance:
        """An annotation of a manifest; `row` says the size of the video, which is that of its masks."""
        size = row["video_height"], row["video_width"]
        attributes = json.loads(one["attributes"])
        return Instance(
            self.labels[one["label"]],
            Kind(one["kind"]),
            None if one["box"] is None else tuple(one["box"]),
            polygon=None
            if one["polygon"] is None
            else [[[(x, y) for x, y in ring] for ring in part] for part in one["polygon"]],
            points=None if one["points"] is None else tuple((x, y) for x, y in one["points"]),
            mask=None if one["rle"] is None else Rle(size, one["rle"]),
            track=one["track"],
            keyframe=one["keyframe"],
            occluded=one["occluded"],
            crowd=bool(attributes.pop("crowd", False)),
            attributes=attributes,
            score=one["score"],
            state=one["state"],
            source=one["source"],
            id=one["id"] or "",
            model=one["model"],
            reviewed_by=one["reviewed_by"],
            area_px=one["area"],
        )

    def _rows(self) -> Iterator[tuple[str, dict[str, Any], int]]:
        """Split, row, and the place of its picture among those of its video."""
        for split in SPLITS:
            path = self.folder / f"{split}.parquet"
            if path.exists():
                for _, rows in groupby(manifest.rows(path), key=lambda row: row["video_id"]):
                    yield from ((split, row, index) for index, row in enumerate(rows))

    def _picture(self, split: str, row: Mapping[str, Any], index: int) -> Picture:
        name = self.names[row["video_id"]]
        return Picture(
            f"{name}/{row['pts_us']:013d}.jpg",
            row["width"],
            row["height"],
            video=name,
            index=index,
            pts_us=row["pts_us"],
            split=split,
            video_id=row["video_id"],
            frame_id=row["frame_id"],
            key=row["object_key"],
            etag=row["etag"] or "",
        )

    def _clips(self) -> tuple[dict[str, Clip], dict[str, str]]:
        """The videos by the names that they have in files, and these names by id."""
        clips: dict[str, Clip] = {}
        names: dict[str, str] = {}
        spoken: Counter[str] = Counter()
        times: dict[str, tuple[int, int]] = {}
        for split, row, index in self._rows():
            if row["video_id"] not in names:
                name = file_name(row["video"])
                spoken[name] += 1
                names[row["video_id"]] = name if spoken[name] == 1 else f"{name}-{row['video_id'][-12:]}"
                clips[names[row["video_id"]]] = Clip(names[row["video_id"]], split, None, row["width"], row["height"])
                times[names[row["video_id"]]] = (row["pts_us"], row["pts_us"])
            name = names[row["video_id"]]
            most = max((one["track"] or 0 for one in row["annotations"]), default=0)
            first = times[name][0]
            times[name] = (first, row["pts_us"])
            spent_us = row["pts_us"] - first
            rate = index * 1e6 / spent_us if spent_us else None
            clips[name] = replace(clips[name], frames=index + 1, tracks=max(clips[name].tracks, most), frame_rate=rate)
        return clips, names


def file_name(name: str) -> str:
    """A video's name as a part of a path that every system and tool takes, and no spreadsheet runs: letters and digits of
    any script, `_` and `-` between them. Two videos may come to have the same one.
    """
    stem = name.rsplit(".", 1)[0] if "." in name[1:] else name
    plain = re.sub(r"[^\w-]+", "-", unicodedata.normalize("NFKC", stem)).strip("-_")
    return plain[:_LONGEST].rstrip("-_") or "video"
