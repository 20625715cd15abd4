"""What can be asked of datasets, their versions, exports and imports, of either client."""

from __future__ import annotations

from argus_ray.client import dataset_calls as calls
from argus_ray.client.resource import AsyncResource, Listing, Method, Resource


class _Datasets:
    list = Listing(calls.Datasets.list)
    create = Method(calls.Datasets.create)
    get = Method(calls.Datasets.get)
    update = Method(calls.Datasets.update)
    delete = Method(calls.Datasets.delete)
    freeze = Method(calls.Datasets.freeze)
    versions = Listing(calls.Datasets.versions)
    version = Method(calls.Datasets.version)
    diff = Method(calls.Datasets.diff)
    export = Method(calls.Datasets.export)
    download = Method(calls.Datasets.download)
    announce_import = Method(calls.Datasets.announce_import)


class Datasets(_Datasets, Resource): ...


class AsyncDatasets(_Datasets, AsyncResource): ...
