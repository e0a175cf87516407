"""The xgboost library, imported without scikit-learn.

xgboost imports scikit-learn whenever it is installed, for wrappers that this program never uses; that alone takes two
thirds of a second at every start of a job. Hiding it for the time of the import is how an installation without it
looks. Everything here that needs xgboost takes it from this module.
"""

import sys

_HIDE = "sklearn" not in sys.modules
if _HIDE:
    sys.modules["sklearn"] = None  # type: ignore[assignment]
try:
    import xgboost
    from xgboost import collective
    from xgboost.tracker import RabitTracker
finally:
    if _HIDE:
        del sys.modules["sklearn"]

__all__ = ["RabitTracker", "collective", "xgboost"]
