"""Studies: many trials of one question in Optuna's storage, each a run in MLflow. The only user of
Optuna."""
