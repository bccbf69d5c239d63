"""One run: its plan, the watch over its training, its record in MLflow, its tables and plots."""
