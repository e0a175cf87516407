"""The store that fails on purpose: it fails where the rule says, and nowhere else."""

import asyncio

import pytest

from clary.store.errors import DatabaseUnavailable
from clary.store.faulty import Fault, FaultyStore
from clary.store.memory import MemoryStore
from clary.store.port import ListQuery, NoSuchJob
from factories import make_job

_TROUBLE = DatabaseUnavailable("trouble")


def test_before_the_effect_nothing_has_happened():
    """The call failed and may be made again."""

    async def scenario():
        store = FaultyStore(MemoryStore(), [Fault(verb="create", error=_TROUBLE)])
        with pytest.raises(DatabaseUnavailable):
            await store.create(make_job())
        with pytest.raises(NoSuchJob):
            await store.get("job")
        await store.create(make_job())
        await store.get("job")
        return store.calls

    assert asyncio.run(scenario()) == [("create", "job"), ("get", "job"), ("create", "job"), ("get", "job")]


def test_after_the_effect_all_has_happened():
    """The call failed and has been done: the caller cannot know."""

    async def scenario():
        store = FaultyStore(MemoryStore(), [Fault(verb="commit", error=_TROUBLE, after_effect=True)])
        await store.create(make_job())
        with pytest.raises(DatabaseUnavailable):
            await store.commit(make_job())
        return await store.get("job")

    assert asyncio.run(scenario()).version == 1


def test_a_rule_may_name_the_call_the_count_and_the_job():
    """The second and third look-up of one job fail; others do not count."""

    async def scenario():
        fault = Fault(verb="get", error=_TROUBLE, on_call=2, times=2, training_job_name="a")
        store = FaultyStore(MemoryStore(), [fault])
        await store.create(make_job("a"))
        await store.create(make_job("b"))
        outcomes = []
        for name in ("a", "b", "a", "a", "b", "a"):
            try:
                await store.get(name)
                outcomes.append("")
            except DatabaseUnavailable:
                outcomes.append(name)
        return outcomes

    assert asyncio.run(scenario()) == ["", "", "a", "a", "", ""]


@pytest.mark.parametrize("after_effect", [False, True])
def test_every_verb_of_the_port_can_fail(after_effect):
    """Before and after."""

    async def scenario(verb, call):
        store = FaultyStore(MemoryStore(), [Fault(verb=verb, error=_TROUBLE, after_effect=after_effect, times=9)])
        if verb != "create":
            await store.create(make_job())
        with pytest.raises(DatabaseUnavailable):
            await call(store)

    for verb, call in {
        "create": lambda store: store.create(make_job()),
        "get": lambda store: store.get("job"),
        "commit": lambda store: store.commit(make_job()),
        "list": lambda store: store.list(ListQuery(), limit=1),
        "unreleased": lambda store: store.unreleased(),
        "close": lambda store: store.close(),
    }.items():
        asyncio.run(scenario(verb, call))
