"""Tags on whatever has tags: AddTags, ListTags, DeleteTags.

Called by the gateway through `operations`. A resource is named by its ARN. Whoever keeps resources of a type gives `app`
a `TagHolder` for the type as ARNs have it ("training-job"); `TaggedJobs` is that of training jobs.

Source: API model; these operations have no errors of their own there, so that all are general ones. Patterns and lengths
of keys and values are the model's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from clary.aws.errors import AccessDeniedException, ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.aws.paging import PageTokens
from clary.base import typed
from clary.base.arn import partition
from clary.jobs import transitions
from clary.jobs.model import Tag
from clary.service.named_resources import not_found
from clary.store.port import NoSuchJob, StaleVersion, Store

MAX_TAGS = 50
"""How many tags a resource can have. Source: API model, TagList."""

Change = Callable[[tuple[Tag, ...]], tuple[Tag, ...]]
"""Makes new tags of the present ones. Pure: it may be asked again when somebody else wrote meanwhile."""


class NoSuchResource(Exception):
    """No resource of the type has this name."""


class TagHolder(Protocol):
    """Resources of one type. A name is what follows the type in an ARN; letter case says nothing there (inferred)."""

    async def tags(self, name: str) -> tuple[Tag, ...]:
        """The tags of the resource. Raises `NoSuchResource`."""
        ...

    async def change_tags(self, name: str, change: Change) -> tuple[Tag, ...]:
        """Write what `change` makes of the tags, and answer that; when this returns, it is durable.

        Raises `NoSuchResource`, and what `change` raises; then nothing was written.
        """
        ...


class TaggedJobs:
    """See `TagHolder`: the training jobs of a store. Tags are no part of what LastModifiedTime speaks of (inferred)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def tags(self, name: str) -> tuple[Tag, ...]:
        """See `TagHolder`."""
        try:
            return (await self._store.find(name)).tags
        except NoSuchJob:
            raise NoSuchResource(name) from None

    async def change_tags(self, name: str, change: Change) -> tuple[Tag, ...]:
        """See `TagHolder`."""
        while True:
            try:
                job = await self._store.find(name)
                tags = change(job.tags)
                if tags != job.tags:
                    await self._store.commit(transitions.retag(job, tags))
            except StaleVersion:
                continue  # the controller wrote in between: read again
            except NoSuchJob:
                raise NoSuchResource(name) from None
            return tags


class Tags:
    """The operations. `holders`: who keeps the resources, by their type in an ARN."""

    def __init__(self, holders: Mapping[str, TagHolder], *, tokens: PageTokens) -> None:
        self._holders = holders
        self._tokens = tokens

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {"AddTags": self.add, "ListTags": self.list, "DeleteTags": self.delete}

    async def add(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """AddTags: a key that is there already gets the new value. Answers all tags that the resource has now."""
        added = new_tags(params)
        holder, name = self._resource(context, "AddTags", params)
        try:
            return _answer(await holder.change_tags(name, lambda tags: _with(tags, added)))
        except NoSuchResource:
            raise not_found() from None

    async def list(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """ListTags. The smallest page holds as many tags as a resource can have: there is never a second one."""
        holder, name = self._resource(context, "ListTags", params)
        if params.get("NextToken"):
            self._tokens.read(params["NextToken"], {"operation": "ListTags"})  # refuses it: none was ever issued
        try:
            return _answer(await holder.tags(name))
        except NoSuchResource:
            raise not_found() from None

    async def delete(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteTags: keys that are not there are passed over (inferred)."""
        holder, name = self._resource(context, "DeleteTags", params)
        keys = frozenset(params["TagKeys"])
        try:
            await holder.change_tags(name, lambda tags: tuple(tag for tag in tags if tag.key not in keys))
        except NoSuchResource:
            raise not_found() from None
        return {}

    def _resource(self, context: RequestContext, operation: str, params: dict[str, Any]) -> tuple[TagHolder, str]:
        """Who keeps the resource, and its name. All refusals are inferred."""
        arn: str = params["ResourceArn"]
        _, of_partition, _, region, account_id, resource = arn.split(":", 5)  # the model's pattern says so
        if (of_partition, region) != (partition(context.region), context.region):
            raise ValidationException(f"The resource {arn} is not in the region {context.region}.")
        if account_id != context.account_id:
            raise AccessDeniedException(
                f"User: {context.caller.principal_arn} is not authorized to perform: sagemaker:{operation} on resource: {arn}"
            )
        kind, _, name = resource.partition("/")
        holder = self._holders.get(kind)
        if holder is None:
            raise ValidationException(f"There are no tags on resources of the type '{kind}': {arn}.")
        return holder, name


def new_tags(params: dict[str, Any]) -> tuple[Tag, ...]:
    """The member Tags of a request that creates or tags a resource. Raises `ValidationException` (texts inferred)."""
    tags = tuple(typed.convert(tag, Tag) for tag in params.get("Tags", ()))
    keys = [tag.key for tag in tags]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValidationException(f"Tag keys must be unique per resource. Given more than once: {', '.join(twice)}.")
    reserved = [key for key in keys if key.lower().startswith("aws:")]
    if reserved:
        raise ValidationException(f"Tag keys must not begin with the reserved prefix aws: {', '.join(reserved)}.")
    return tags


def _with(tags: Sequence[Tag], added: Sequence[Tag]) -> tuple[Tag, ...]:
    by_key = {tag.key: tag for tag in (*tags, *added)}
    if len(by_key) > MAX_TAGS:
        raise ValidationException(  # (inferred)
            f"Tag limit exceeded: a resource can have at most {MAX_TAGS} tags, and this one would have {len(by_key)}."
        )
    return tuple(by_key.values())


def _answer(tags: tuple[Tag, ...]) -> dict[str, Any]:
    return {"Tags": msgspec.to_builtins(tags)}
