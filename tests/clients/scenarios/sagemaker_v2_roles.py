"""A role by its bare name, and the caller's own role."""

from common import ROLE, found, told
from sagemaker.session import Session

session = Session(default_bucket=told()["bucket"])
found(expanded=session.expand_role("test"), unchanged=session.expand_role(ROLE))
