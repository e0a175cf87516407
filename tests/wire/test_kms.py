"""KMS under an unmodified boto3 client, on a real server."""

import re
import uuid

import pytest
from botocore.exceptions import ClientError

pytest_plugins = ["server"]

ARN = "arn:aws:kms:us-east-1:000000000000:"


@pytest.fixture(scope="module")
def kms(server):
    return server.client("kms")


@pytest.fixture
def key(kms):
    return kms.create_key(Description="mine")["KeyMetadata"]


@pytest.fixture
def alias(kms, key):
    name = f"alias/a-{uuid.uuid4().hex}"
    kms.create_alias(AliasName=name, TargetKeyId=key["KeyId"])
    return name


def refused(call, **members):
    with pytest.raises(ClientError) as refusal:
        call(**members)
    answer = refusal.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    return answer["Error"]["Code"]


def pages(operation, member, **members):
    found = list(operation.paginate(**members))
    return [entry for page in found for entry in page[member]], len(found)


def test_a_new_key_is_as_it_was_asked_for(kms):
    """Describe shows what Create answered, and the tags are listed."""
    tags = [{"TagKey": "team", "TagValue": "x"}, {"TagKey": "a", "TagValue": ""}]
    made = kms.create_key(Description="for models", Tags=tags)["KeyMetadata"]
    assert made == kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"]
    assert made["Arn"] == f"{ARN}key/{made['KeyId']}"
    shown = {name: made[name] for name in ("Description", "Enabled", "KeyState", "KeyManager", "KeySpec", "KeyUsage")}
    assert shown == {
        "Description": "for models", "Enabled": True, "KeyState": "Enabled", "KeyManager": "CUSTOMER",
        "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT",
    }  # fmt: skip
    assert kms.list_resource_tags(KeyId=made["KeyId"])["Tags"] == sorted(tags, key=lambda tag: tag["TagKey"])


@pytest.mark.parametrize(
    "members",
    [
        {"KeyUsage": "SIGN_VERIFY", "KeySpec": "RSA_2048"},
        {"KeyUsage": "GENERATE_VERIFY_MAC"},
        {"CustomerMasterKeySpec": "HMAC_256"},
        {"Origin": "EXTERNAL"},
        {"MultiRegion": True},
        {"Policy": "{}"},
        {"CustomKeyStoreId": "cks-1"},
    ],
)
def test_other_kinds_of_keys_are_refused_by_name(kms, members):
    with pytest.raises(ClientError, match=next(iter(members))) as refusal:
        kms.create_key(**members)
    assert refusal.value.response["Error"]["Code"] == "UnsupportedOperationException"


def test_a_key_goes_by_four_names(kms, key, alias):
    """Its id, its ARN, an alias and the alias's ARN, in every operation that encrypts."""
    for name in (key["KeyId"], key["Arn"], alias, ARN + alias):
        assert kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == key["KeyId"]
        sealed = kms.encrypt(KeyId=name, Plaintext=b"x", EncryptionContext={"a": "b"})
        assert sealed["KeyId"] == key["Arn"]
        opened = kms.decrypt(KeyId=name, CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext={"a": "b"})
        assert (opened["KeyId"], opened["Plaintext"]) == (key["Arn"], b"x")
        made = kms.generate_data_key(KeyId=name, KeySpec="AES_256")
        assert made["KeyId"] == key["Arn"]
        assert kms.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == made["Plaintext"]
        assert len(made["Plaintext"]) == 32


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("1234abcd-12ab-34cd-56ef-1234567890ab", "NotFoundException"),
        (f"{ARN}key/1234abcd-12ab-34cd-56ef-1234567890ab", "NotFoundException"),
        ("alias/nobody", "NotFoundException"),
        (f"{ARN}alias/nobody", "NotFoundException"),
        ("no key", "NotFoundException"),
        ("arn:aws:kms:eu-west-1:000000000000:alias/aws/s3", "NotFoundException"),
        ("arn:aws:kms:us-east-1:111111111111:alias/aws/s3", "AccessDeniedException"),
        ("arn:aws:s3:::bucket", "NotFoundException"),
        ("arn:", "NotFoundException"),
    ],
)
def test_what_is_no_key_is_not_found(kms, name, code):
    """Whatever is asked of it."""
    assert refused(kms.describe_key, KeyId=name) == code
    assert refused(kms.encrypt, KeyId=name, Plaintext=b"x") == code
    assert refused(kms.generate_data_key, KeyId=name, NumberOfBytes=9) == code


def test_the_key_for_s3_is_there_from_the_start(kms):
    """AWS's own: listed, with its alias, and nobody's to change."""
    managed = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]
    assert managed["KeyManager"] == "AWS"
    assert managed["KeyId"] in {key["KeyId"] for key in kms.list_keys(Limit=1000)["Keys"]}
    assert refused(kms.disable_key, KeyId=managed["KeyId"]) == "AccessDeniedException"
    assert refused(kms.schedule_key_deletion, KeyId=managed["KeyId"]) == "AccessDeniedException"
    assert refused(kms.create_alias, AliasName="alias/own", TargetKeyId=managed["KeyId"]) == "AccessDeniedException"
    assert refused(kms.delete_alias, AliasName="alias/aws/s3") == "NotAuthorizedException"


def test_a_data_key_without_plaintext_can_be_opened_later(kms, key):
    for size in ({"KeySpec": "AES_128"}, {"NumberOfBytes": 16}):
        made = kms.generate_data_key_without_plaintext(KeyId=key["KeyId"], **size)
        assert "Plaintext" not in made
        assert len(kms.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"]) == 16
    assert refused(kms.generate_data_key, KeyId=key["KeyId"]) == "ValidationException"
    assert (
        refused(kms.generate_data_key, KeyId=key["KeyId"], KeySpec="AES_256", NumberOfBytes=1) == "ValidationException"
    )


def test_a_ciphertext_is_read_with_its_own_key_and_context_alone(kms, key):
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x" * 4096, EncryptionContext={"a": "b"})["CiphertextBlob"]
    assert refused(kms.decrypt, CiphertextBlob=sealed) == "InvalidCiphertextException"
    assert refused(kms.decrypt, CiphertextBlob=sealed, EncryptionContext={"a": "c"}) == "InvalidCiphertextException"
    assert refused(kms.decrypt, CiphertextBlob=b"junk") == "InvalidCiphertextException"
    right = {"CiphertextBlob": sealed, "EncryptionContext": {"a": "b"}}
    assert refused(kms.decrypt, KeyId=other, **right) == "IncorrectKeyException"
    assert refused(kms.decrypt, EncryptionAlgorithm="RSAES_OAEP_SHA_1", **right) == "InvalidKeyUsageException"
    assert refused(kms.decrypt, DryRun=True, **right) == "DryRunOperationException"
    assert refused(kms.decrypt, GrantTokens=["t"], **right) == "ValidationException"
    assert kms.decrypt(**right)["Plaintext"] == b"x" * 4096


def test_a_ciphertext_moves_to_another_key(kms, key):
    other = kms.create_key()["KeyMetadata"]
    sealed = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext={"a": "b"})["CiphertextBlob"]
    moved = kms.re_encrypt(
        CiphertextBlob=sealed,
        SourceEncryptionContext={"a": "b"},
        DestinationKeyId=other["KeyId"],
        DestinationEncryptionContext={"c": "d"},
    )
    assert (moved["SourceKeyId"], moved["KeyId"]) == (key["Arn"], other["Arn"])
    opened = kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"c": "d"})
    assert (opened["Plaintext"], opened["KeyId"]) == (b"x", other["Arn"])


def test_a_disabled_key_does_nothing_until_it_is_enabled(kms, key):
    """It can still be described, and neither be written nor read with."""
    name = key["KeyId"]
    sealed = kms.encrypt(KeyId=name, Plaintext=b"x")["CiphertextBlob"]
    kms.disable_key(KeyId=name)
    described = kms.describe_key(KeyId=name)["KeyMetadata"]
    assert (described["KeyState"], described["Enabled"]) == ("Disabled", False)
    assert refused(kms.encrypt, KeyId=name, Plaintext=b"x") == "DisabledException"
    assert refused(kms.generate_data_key, KeyId=name, KeySpec="AES_256") == "DisabledException"
    assert refused(kms.decrypt, CiphertextBlob=sealed) == "DisabledException"
    kms.enable_key(KeyId=key["Arn"])
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"


def test_a_key_that_is_to_be_deleted_is_out_of_use_and_can_be_kept(kms, key, alias):
    """Cancelling leaves it disabled."""
    name = key["KeyId"]
    sealed = kms.encrypt(KeyId=name, Plaintext=b"x")["CiphertextBlob"]
    assert refused(kms.schedule_key_deletion, KeyId=name, PendingWindowInDays=6) == "ValidationException"
    answer = kms.schedule_key_deletion(KeyId=name, PendingWindowInDays=7)
    assert (answer["KeyId"], answer["KeyState"], answer["PendingWindowInDays"]) == (key["Arn"], "PendingDeletion", 7)
    described = kms.describe_key(KeyId=name)["KeyMetadata"]
    assert (described["KeyState"], described["DeletionDate"]) == ("PendingDeletion", answer["DeletionDate"])
    for call, members in (
        (kms.encrypt, {"KeyId": name, "Plaintext": b"x"}),
        (kms.decrypt, {"CiphertextBlob": sealed}),
        (kms.enable_key, {"KeyId": name}),
        (kms.schedule_key_deletion, {"KeyId": name}),
        (kms.create_alias, {"AliasName": "alias/late", "TargetKeyId": name}),
    ):
        assert refused(call, **members) == "KMSInvalidStateException"
    assert kms.cancel_key_deletion(KeyId=name)["KeyId"] == key["Arn"]
    assert refused(kms.cancel_key_deletion, KeyId=name) == "KMSInvalidStateException"
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyState"] == "Disabled"
    kms.enable_key(KeyId=name)
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"


def test_aliases(kms, key, alias):
    """Made once, moved, listed, deleted; the key stays."""
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    assert refused(kms.create_alias, AliasName=alias, TargetKeyId=other) == "AlreadyExistsException"
    assert refused(kms.create_alias, AliasName="mine", TargetKeyId=other) == "ValidationException"
    assert refused(kms.create_alias, AliasName="alias/aws/mine", TargetKeyId=other) == "NotAuthorizedException"
    assert refused(kms.create_alias, AliasName="alias/a:b", TargetKeyId=other) == "InvalidAliasNameException"
    assert refused(kms.create_alias, AliasName="alias/a", TargetKeyId="alias/aws/s3") == "NotFoundException"
    listed = kms.list_aliases(KeyId=key["KeyId"])["Aliases"]
    assert [(a["AliasName"], a["AliasArn"], a["TargetKeyId"]) for a in listed] == [(alias, ARN + alias, key["KeyId"])]
    kms.update_alias(AliasName=alias, TargetKeyId=other)
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"] == other
    kms.delete_alias(AliasName=alias)
    assert refused(kms.delete_alias, AliasName=alias) == "NotFoundException"
    assert refused(kms.update_alias, AliasName=alias, TargetKeyId=other) == "NotFoundException"
    assert kms.describe_key(KeyId=other)["KeyMetadata"]["Enabled"]


def test_lists_come_in_pages(kms):
    """Every key and alias once, whatever the size of a page; a marker is good for its own list alone."""
    made = {kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(3)}
    for number, name in enumerate(sorted(made)):
        kms.create_alias(AliasName=f"alias/page-{uuid.uuid4().hex}-{number}", TargetKeyId=name)
    keys, count = pages(kms.get_paginator("list_keys"), "Keys", PaginationConfig={"PageSize": 2})
    assert count > 1
    names = [key["KeyId"] for key in keys]
    assert names == sorted(set(names))
    assert made <= set(names)
    assert all(key["KeyArn"] == f"{ARN}key/{key['KeyId']}" for key in keys)
    aliases, count = pages(kms.get_paginator("list_aliases"), "Aliases", PaginationConfig={"PageSize": 2})
    assert count > 1
    assert made <= {alias["TargetKeyId"] for alias in aliases}
    marker = kms.list_keys(Limit=1)["NextMarker"]
    assert refused(kms.list_aliases, Marker=marker) == "InvalidMarkerException"
    assert refused(kms.list_keys, Marker="junk") == "InvalidMarkerException"


def test_a_key_id_looks_like_one_of_aws(key):
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", key["KeyId"])
