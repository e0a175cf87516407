"""What the rooms above give to the gateway: a handler for each operation, by name.

A handler gets the parameters after validation, as builtins named as on the wire (timestamps: float seconds since the
epoch), and answers with wire-true builtins or a msgspec Struct, or None for an empty body. It raises `AwsError` for what
the caller did wrong.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from clary.aws.sigv4 import Credential


class RequestContext(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `region` is the configured one, whatever the scope of the signature says."""

    request_id: str
    account_id: str
    region: str
    caller: Credential


Handler = Callable[[RequestContext, dict[str, Any]], Awaitable[object | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A service by its name in the credential scope ("sagemaker"), and its operations by name."""

    name: str
    handlers: Mapping[str, Handler]
