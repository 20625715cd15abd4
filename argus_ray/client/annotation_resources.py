"""What can be asked of labels, annotations, tracks, verdicts and review, of either client."""

from __future__ import annotations

from argus_ray.client import annotation_calls as calls
from argus_ray.client.resource import AsyncResource, Listing, Method, Resource


class _Labels:
    list = Listing(calls.Labels.list)
    create = Method(calls.Labels.create)
    get = Method(calls.Labels.get)
    update = Method(calls.Labels.update)
    archive = Method(calls.Labels.archive)
    unarchive = Method(calls.Labels.unarchive)
    merge = Method(calls.Labels.merge)
    history = Listing(calls.Labels.history)
    restore = Method(calls.Labels.restore)


class _Annotations:
    create = Method(calls.Annotations.create)
    window = Method(calls.Annotations.window)
    list = Listing(calls.Annotations.list)
    get = Method(calls.Annotations.get)
    update = Method(calls.Annotations.update)
    delete = Method(calls.Annotations.delete)
    history = Listing(calls.Annotations.history)
    restore = Method(calls.Annotations.restore)
    accept = Method(calls.Annotations.accept)
    reject = Method(calls.Annotations.reject)
    auto_accept = Method(calls.Annotations.auto_accept)


class _Tracks:
    list = Listing(calls.Tracks.list)
    create = Method(calls.Tracks.create)
    get = Method(calls.Tracks.get)
    update = Method(calls.Tracks.update)
    delete = Method(calls.Tracks.delete)
    split = Method(calls.Tracks.split)
    merge = Method(calls.Tracks.merge)
    end = Method(calls.Tracks.end)
    retrack = Method(calls.Tracks.retrack)
    history = Listing(calls.Tracks.history)
    restore = Method(calls.Tracks.restore)
    links = Listing(calls.Tracks.links)
    cut = Method(calls.Tracks.cut)
    join = Method(calls.Tracks.join)


class _Verdicts:
    list = Listing(calls.Verdicts.list)
    of_frame = Method(calls.Verdicts.of_frame)
    put = Method(calls.Verdicts.put)
    put_many = Method(calls.Verdicts.put_many)
    delete = Method(calls.Verdicts.delete)


class _Review:
    next = Method(calls.Review.next)
    assign = Method(calls.Review.assign)
    release = Method(calls.Review.release)
    accept = Method(calls.Review.accept)
    reject = Method(calls.Review.reject)
    queue = Method(calls.Review.queue)
    list = Listing(calls.Review.list)
    thresholds = Method(calls.Review.thresholds)
    learn = Method(calls.Review.learn)


class Labels(_Labels, Resource): ...


class AsyncLabels(_Labels, AsyncResource): ...


class Annotations(_Annotations, Resource): ...


class AsyncAnnotations(_Annotations, AsyncResource): ...


class Tracks(_Tracks, Resource): ...


class AsyncTracks(_Tracks, AsyncResource): ...


class Verdicts(_Verdicts, Resource): ...


class AsyncVerdicts(_Verdicts, AsyncResource): ...


class Review(_Review, Resource): ...


class AsyncReview(_Review, AsyncResource): ...
