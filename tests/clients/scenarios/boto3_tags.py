"""Tags of a job, from CreateTrainingJob on, and Search by them."""

import boto3
from common import found, simple_request, told

ARGUMENTS = told()
NAME = ARGUMENTS["name"]
sagemaker = boto3.client("sagemaker")

tags = [{"Key": "team", "Value": "ml"}, {"Key": "run", "Value": NAME}]
arn = sagemaker.create_training_job(**simple_request(ARGUMENTS, Tags=tags))["TrainingJobArn"]
sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "data"}, {"Key": "more", "Value": ""}])
sagemaker.delete_tags(ResourceArn=arn, TagKeys=["more"])
kept = [tag for page in sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn) for tag in page["Tags"]]
pages = sagemaker.get_paginator("search").paginate(
    Resource="TrainingJob",
    SearchExpression={"Filters": [{"Name": "Tags.run", "Operator": "Equals", "Value": NAME}]},
)
results = [result["TrainingJob"]["TrainingJobName"] for page in pages for result in page["Results"]]
found(tags={tag["Key"]: tag["Value"] for tag in kept}, results=results)
