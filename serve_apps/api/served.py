"""A deployment as the API calls it: one hop, and its failures in words of ours."""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from argus_ray.errors import ArgusError, TooManyRequests, Unavailable

_RETRY_AFTER_S = 2


class Served:
    """The Serve application of this name, found when first needed: the API starts without it."""

    def __init__(self, application: str, *, patience_s: float) -> None:
        self._application, self._patience_s = application, patience_s
        self._handle: Any = None

    async def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Raises what the deployment raises of ours, TooManyRequests when it sheds load, Unavailable when it is gone."""
        try:
            if self._handle is None:
                self._handle = await asyncio.to_thread(serve.get_app_handle, self._application)
            answer = getattr(self._handle, method).remote(*arguments, **named)
            return await asyncio.wait_for(answer, self._patience_s)
        except BackPressureError as error:
            raise TooManyRequests(
                "the model has all the requests that it can hold: try again in a moment", retry_after_s=_RETRY_AFTER_S
            ) from error
        except RayTaskError as error:
            if isinstance(error.cause, ArgusError):
                raise error.cause from None
            raise
        except (RayServeException, RayError, TimeoutError) as error:
            raise Unavailable("the model does not answer: try again in a moment") from error
