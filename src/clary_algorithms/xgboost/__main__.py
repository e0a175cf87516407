"""The entrypoint. Says that it lives before it imports numpy, scipy and xgboost, which takes most of a second."""

import sys

from clary_algorithms.container import Container, Termination, leave, log, run


def train(container: Container, termination: Termination) -> None:
    """Show a first line, then load what is heavy and train."""
    log(f"XGBoost training on host {container.current_host} of {len(container.hosts)}")
    from clary_algorithms.xgboost.training import train as train_model  # noqa: PLC0415 -- heavy, see above

    train_model(container, termination)


if __name__ == "__main__":
    leave(run(train, sys.argv[1:]))
