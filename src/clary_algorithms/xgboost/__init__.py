"""The XGBoost algorithm: `python -m clary_algorithms.xgboost train` trains what /opt/ml describes."""
