"""The entrypoint. Says that it lives before it imports numpy, scipy and xgboost, which takes most of a second."""

import os
import sys

from clary_algorithms.container import Container, Termination, log, run


def train(container: Container, termination: Termination) -> None:
    """Show a first line, then load what is heavy and train."""
    log(f"XGBoost training on host {container.current_host} of {len(container.hosts)}")
    from clary_algorithms.xgboost.training import train as train_model  # noqa: PLC0415 -- heavy, see above

    train_model(container, termination)


if __name__ == "__main__":
    exit_code = run(train, sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: after an error the library's tracker may wait for hosts that will never come.
    os._exit(exit_code)
