"""The tags of algorithms, for the operations on tags. Made by `app`."""

import msgspec

from clary.jobs.model import Tag
from clary.service.tags import Change, NoSuchResource
from clary.store.algorithm_port import AlgorithmStore, NoSuchAlgorithm, StaleAlgorithm


class TaggedAlgorithms:
    """See `tags.TagHolder`: the algorithms of a store."""

    def __init__(self, store: AlgorithmStore) -> None:
        self._store = store

    async def tags(self, name: str) -> tuple[Tag, ...]:
        """See `tags.TagHolder`."""
        try:
            return (await self._store.get(name)).tags
        except NoSuchAlgorithm:
            raise NoSuchResource(name) from None

    async def change_tags(self, name: str, change: Change) -> tuple[Tag, ...]:
        """See `tags.TagHolder`."""
        while True:
            try:
                algorithm = await self._store.get(name)
                tags = change(algorithm.tags)
                if tags != algorithm.tags:
                    await self._store.commit(msgspec.structs.replace(algorithm, tags=tags))
            except StaleAlgorithm:
                continue  # another request changed the tags in between: read again
            except NoSuchAlgorithm:
                raise NoSuchResource(name) from None
            return tags
