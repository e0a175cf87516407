"""What the rooms above give to the gateway: a handler for each operation, by name.

A handler gets the parameters after validation, as builtins named as on the wire, and answers with such builtins or a
msgspec Struct, or None for an empty body. A time is a number of seconds since the epoch, in and out, whatever the
protocol: that is JSON's own form, so that JSON answers are encoded as they are, and `query_xml` and `rpc_cbor` make of it
what theirs is where the output shape says "timestamp". A handler raises `AwsError` for what the caller did wrong.
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
    """A service and its operations by name. Its name is that of the credential scope ("sagemaker"), but for a service
    that signs with another one's: that has the name of its model ("sagemaker-metrics").
    """

    name: str
    handlers: Mapping[str, Handler]
