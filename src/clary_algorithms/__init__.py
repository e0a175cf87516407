"""Built-in algorithms: programs that obey SageMaker's container contract and know nothing of the server."""
