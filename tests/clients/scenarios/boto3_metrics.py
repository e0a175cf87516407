"""A job's metrics from CloudWatch, over the protocol that this boto3 speaks: AWS query before 2025, JSON since."""

import time
from datetime import timedelta

import boto3
from common import found, reach, simple_request, told

ARGUMENTS = told()
NAME = ARGUMENTS["name"]
NAMESPACE = "/aws/sagemaker/TrainingJobs"
DIMENSIONS = [{"Name": "TrainingJobName", "Value": NAME}]
sagemaker, cloudwatch = boto3.client("sagemaker"), boto3.client("cloudwatch")

sagemaker.create_training_job(**simple_request(ARGUMENTS, HyperParameters={"epochs": "4"}))
end = reach(sagemaker, NAME, "Completed", "Failed")
interval = {"StartTime": end["TrainingStartTime"], "EndTime": end["TrainingEndTime"] + timedelta(minutes=1)}
metric = {"Namespace": NAMESPACE, "MetricName": "loss", "Dimensions": DIMENSIONS}
for _ in range(100):  # what is logged last may be counted a moment later
    points = cloudwatch.get_metric_statistics(
        **metric, **interval, Period=60, Statistics=["Average", "Minimum", "Maximum", "Sum", "SampleCount"]
    )["Datapoints"]
    if sum(point["SampleCount"] for point in points) == 4:
        break
    time.sleep(0.1)  # see above
data = cloudwatch.get_metric_data(
    MetricDataQueries=[{"Id": "l", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}}], **interval
)["MetricDataResults"]
listed = cloudwatch.list_metrics(Namespace=NAMESPACE, Dimensions=DIMENSIONS)["Metrics"]
refused = ""
try:
    cloudwatch.get_metric_statistics(**metric, **interval, Period=7, Statistics=["Average"])
except cloudwatch.exceptions.ClientError as error:
    refused = error.response["Error"]["Code"]
found(
    minimum=min(point["Minimum"] for point in points),
    maximum=max(point["Maximum"] for point in points),
    sum=sum(point["Sum"] for point in points),
    typed=[type(points[0]["Timestamp"]).__name__, points[0]["Timestamp"].tzinfo is not None],
    data=[max(result["Values"]) for result in data],
    listed=[item["MetricName"] for item in listed if item["Namespace"] == NAMESPACE],
    refused=refused,
)
