"""When to stop boosting: the score got no better for so many rounds. Pure; used by the boosting loop."""


class EarlyStopping:
    """Watches one metric. `best_round` and `best_score` are None until the first value."""

    def __init__(self, rounds: int, *, maximize: bool) -> None:
        self._rounds = rounds
        self._maximize = maximize
        self._since_best = 0
        self.best_round: int | None = None
        self.best_score: float | None = None

    def should_stop(self, boosting_round: int, score: float) -> bool:
        """Take a round's score into account; true once `rounds` of them in a row brought no gain."""
        if self.best_score is None or (score > self.best_score if self._maximize else score < self.best_score):
            self.best_round, self.best_score, self._since_best = boosting_round, score, 0
            return False
        self._since_best += 1
        return self._since_best >= self._rounds
