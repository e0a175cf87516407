"""What the operator reads when no sandbox can be made."""

import pytest

from clary.runtimes.diagnosis import Facts, explain, sandbox_problem


@pytest.mark.parametrize(
    ("facts", "said", "cure"),
    [
        (Facts(unprivileged_userns_clone=0), "", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (Facts(max_user_namespaces=0), "", "sysctl -w user.max_user_namespaces="),
        (Facts(apparmor_restricts=1), "setting up uid map: Permission denied", "AppArmor profile"),
        (Facts(in_container=True), "Can't mount proc on /newroot/proc", "systempaths=unconfined"),
        (Facts(in_container=True), "No permissions to create new namespace", "seccomp=unconfined"),
        (Facts(kernel_release="4.4.0-19041-Microsoft"), "", "wsl --set-version"),
        (Facts(kernel_release="6.1.0"), "prctl failed", "security module"),
    ],
)
def test_each_cause_comes_with_its_cure(facts, said, cure):
    """The text names what to do, and what bubblewrap itself said."""
    text = explain(said, facts)
    assert cure in text
    assert said in text


def test_wsl_2_is_an_ordinary_linux():
    """Its kernel has Microsoft's name in it, too."""
    assert "wsl" not in explain("", Facts(kernel_release="5.15.90.1-microsoft-standard-WSL2"))


def test_a_binary_that_is_not_executable_is_told(tmp_path):
    """A copy that lost its mode on the way."""
    binary = tmp_path / "bwrap"
    binary.write_bytes(b"")
    problem = sandbox_problem(binary)
    assert problem is not None
    assert "chmod +x" in problem


def test_a_binary_that_does_not_run_is_told(tmp_path):
    """Such as one for another kind of processor."""
    binary = tmp_path / "bwrap"
    binary.write_bytes(b"\x7fELF of another kind")
    binary.chmod(0o755)
    problem = sandbox_problem(binary)
    assert problem is not None
    assert "cannot be run" in problem
