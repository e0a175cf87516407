"""The program's side of the container contract."""

import json

import pytest

from clary_algorithms.container import AlgorithmError, read_container


def test_reads_what_the_platform_wrote(opt_ml, tmp_path):
    """Hyperparameters, channels with their folders, hosts in order, and the checkpoint folder when there is one."""
    opt_ml.write(
        {"a": '"x"'},
        channels={"train": "text/csv", "other": None},
        hosts=("algo-1", "algo-10", "algo-2"),
        current_host="algo-10",
        checkpoints=tmp_path / "c",
    )
    container = read_container(opt_ml.root)
    assert container.hyperparameters == {"a": '"x"'}
    assert container.channels["train"].content_type == "text/csv"
    assert container.channels["other"].content_type is None
    assert container.channels["train"].directory == opt_ml.root / "input" / "data" / "train"
    assert container.hosts == ("algo-1", "algo-10", "algo-2")
    assert container.current_host == "algo-10"
    assert container.checkpoint_directory == tmp_path / "c"


def test_no_checkpoints_unless_asked(opt_ml):
    """Without checkpointconfig.json there is no checkpoint folder."""
    opt_ml.write({})
    assert read_container(opt_ml.root).checkpoint_directory is None


@pytest.mark.parametrize("content", ["", "[1]", json.dumps("x")])
def test_a_broken_file_is_named(opt_ml, content):
    """A file that is no JSON object fails the program with the file's name."""
    opt_ml.write({})
    (opt_ml.root / "input" / "config" / "hyperparameters.json").write_text(content)
    with pytest.raises(AlgorithmError, match=r"hyperparameters\.json"):
        read_container(opt_ml.root)
