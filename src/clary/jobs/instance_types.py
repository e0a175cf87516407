"""What an ML instance of a type has: processors, memory, GPUs, and whether its disk is an instance store. Pure.

Asked where a job's limits are set. A name that is not of a family below has no limits here: AWS adds types faster than
anybody reads of them.

Source: EC2's DescribeInstanceTypes; an ML instance type is EC2's type of the same name with "ml." before it. p2, p3 and
p6e-gb200, which it does not list in every region, are from EC2's pages of instance types.
"""

import re
from functools import lru_cache

import msgspec

_GIB = 1 << 30


class InstanceType(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance has. `local_storage`: its disk is a local NVMe store, whatever volume is asked for."""

    vcpus: int
    memory_bytes: int
    gpus: int = 0
    local_storage: bool = False


class _Family(msgspec.Struct, frozen=True):
    """A family in which memory grows with the processors. `gpus` has the sizes with more than `gpu` GPUs."""

    gib_per_vcpu: float
    gpu: int = 0
    gpus: dict[str, int] = {}
    local_storage: bool = False


_FOUR_FROM_12XLARGE = {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
_TWO_FROM_12XLARGE = {"12xlarge": 2, "24xlarge": 4, "48xlarge": 8}

_FAMILIES = {
    **dict.fromkeys(("m4", "m5", "m6i", "m7i", "m7i-flex", "m8i", "m8i-flex", "t3"), _Family(4)),
    **dict.fromkeys(("c5", "c6i", "c7i", "c7i-flex", "c8i", "c8i-flex"), _Family(2)),
    **dict.fromkeys(("r5", "r6i", "r7i", "r8i", "r8i-flex"), _Family(8)),
    "r5d": _Family(8, local_storage=True),
    "c4": _Family(1.875),
    "c5n": _Family(2.625),
    "g4dn": _Family(4, 1, {"12xlarge": 4}, local_storage=True),
    **dict.fromkeys(("g5", "g6"), _Family(4, 1, _FOUR_FROM_12XLARGE, local_storage=True)),
    "g6e": _Family(8, 1, _FOUR_FROM_12XLARGE, local_storage=True),
    "g7": _Family(4, 1, _TWO_FROM_12XLARGE, local_storage=True),
    "g7e": _Family(8, 1, _TWO_FROM_12XLARGE, local_storage=True),
    "p2": _Family(15.25, 1, {"8xlarge": 8, "16xlarge": 16}),
    "p3": _Family(7.625, 1, {"8xlarge": 4, "16xlarge": 8}),
    **dict.fromkeys(("trn1", "trn1n"), _Family(4, local_storage=True)),
}

_VCPUS = {"c4.8xlarge": 36}

_GIB_OF = {
    "c5n.9xlarge": 96,
    "c5n.18xlarge": 192,
    "c4.8xlarge": 60,
    "g7e.12xlarge": 512,
    "g7e.24xlarge": 1024,
    "g7e.48xlarge": 2048,
    "p2.16xlarge": 732,
    "t3.medium": 4,
}

_ALONE = {
    "p3dn.24xlarge": (768, 8),
    "p4d.24xlarge": (1152, 8),
    "p4de.24xlarge": (1152, 8),
    "p5.4xlarge": (256, 1),
    "p5.48xlarge": (2048, 8),
    "p5e.48xlarge": (2048, 8),
    "p5en.48xlarge": (2048, 8),
    "p6-b200.48xlarge": (2048, 8),
    "p6-b300.48xlarge": (4096, 8),
    "p6e-gb200.36xlarge": (960, 4),
    "trn2.48xlarge": (2048, 0),
}
"""GiB and GPUs of the types of families that are hardly one; all have an instance store."""

_SIZE = re.compile(r"medium|large|(\d{0,3})xlarge")


@lru_cache(maxsize=1024)
def instance_type(name: str) -> InstanceType | None:
    """The type of that name ("ml.m5.large"); None for one that is not known here."""
    own = name.removeprefix("ml.")
    family_name, _, size = own.partition(".")
    match = _SIZE.fullmatch(size)
    if match is None:
        return None
    vcpus = _VCPUS.get(own) or (2 if match[1] is None else 4 * int(match[1] or 1))
    if own in _ALONE:
        gib, gpus = _ALONE[own]
        return InstanceType(vcpus=vcpus, memory_bytes=gib * _GIB, gpus=gpus, local_storage=True)
    family = _FAMILIES.get(family_name)
    if family is None:
        return None
    return InstanceType(
        vcpus=vcpus,
        memory_bytes=round(_GIB_OF.get(own, vcpus * family.gib_per_vcpu) * _GIB),
        gpus=family.gpus.get(size, family.gpu),
        local_storage=family.local_storage,
    )
