"""SageMakerTrainingOperator, executed as a task does it, twice under the same name."""

import logging
import sys

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerTrainingSensor
from common import found, simple_request, told

logging.basicConfig(level=logging.INFO, stream=sys.stdout)
ARGUMENTS = told()


def execute():
    operator = SageMakerTrainingOperator(
        task_id="operator",
        aws_conn_id=None,
        config=simple_request(ARGUMENTS),
        wait_for_completion=True,
        print_log=False,
        check_interval=1,
        action_if_job_exists="timestamp",
    )
    return operator.execute({})["Training"]["TrainingJobName"]


names = [execute(), execute()]
sensor = SageMakerTrainingSensor(task_id="wait", aws_conn_id=None, job_name=names[1], print_log=False)
found(names=names, sensed=sensor.poke({}))
