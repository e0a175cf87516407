"""Apache Airflow's provider: the hook, the operator and the sensor."""

CLIENT = "airflow"


def test_the_hook_waits_prints_and_lists(run):
    """It checks the data, follows the log to its end, and raises for a job that failed."""
    result, printed = run(CLIENT, "airflow_hook")
    name = result["name"]

    assert result["answered"] == [200, 200]
    assert result["status"] == "Completed"
    assert printed.count("epoch=3 loss=0.33;") == 1
    assert "AlgorithmError: no rows" in result["failure"]
    assert result["listed"] == [f"{name}-fails", f"{name}-log"]


def test_the_operator_makes_a_name_of_its_own_where_one_is_taken(run):
    """The existence check finds no job and then one; the sensor sees the end."""
    result, _ = run(CLIENT, "airflow_operator")
    first, second = result["names"]

    assert first == result["name"]
    assert second.startswith(f"{first}-")
    assert result["sensed"] is True
