"""Clary: Amazon SageMaker training jobs on machines that you own."""
