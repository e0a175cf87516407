"""A second file of the sources: a line by gradient descent."""


def fit(rows, rate, steps):
    """Slope, intercept and mean squared error."""
    slope = intercept = 0.0
    for _ in range(steps):
        errors = [(x, slope * x + intercept - y) for x, y in rows]
        slope -= rate * 2 * sum(x * error for x, error in errors) / len(rows)
        intercept -= rate * 2 * sum(error for _, error in errors) / len(rows)
    return slope, intercept, sum((slope * x + intercept - y) ** 2 for x, y in rows) / len(rows)
