"""fit(logs=False); fit(wait=False), attach from the name alone, logs(); a job that fails; one that is stopped."""

import boto3
from common import ROLE, found, see_begin, told
from sagemaker.estimator import Estimator
from sagemaker.exceptions import UnexpectedStatusException
from sagemaker.session import Session

ARGUMENTS = told()
session = Session(default_bucket=ARGUMENTS["bucket"])


def estimator(**hyperparameters):
    return Estimator(
        image_uri=ARGUMENTS["image"],
        role=ROLE,
        instance_count=1,
        instance_type="ml.m5.large",
        sagemaker_session=session,
        hyperparameters=hyperparameters,
    )


waited = estimator(epochs=1)
waited.fit(logs=False)

begun = estimator(epochs=2)
begun.fit(wait=False)
stops = estimator(run_for=600)
stops.fit(wait=False)
fails = estimator(fail="no such column")
failure = ""
try:
    fails.fit(logs=False)
except UnexpectedStatusException as error:
    failure = str(error)

attached = Estimator.attach(begun.latest_training_job.name, sagemaker_session=session)
attached.logs()

name = stops.latest_training_job.name
see_begin(boto3.client("logs"), name)
session.stop_training_job(name)
description = session.wait_for_job(name)

found(
    waited=waited.model_data,
    attached=[attached.model_data == begun.model_data, attached.hyperparameters(), attached.image_uri],
    failure=failure,
    stopped=description["TrainingJobStatus"],
    stopped_model=stops.model_data,
)
