"""Tables, plots and pages of one run or of several."""

from recsweep.report.plots import plot_precision_recall, plot_training_curves, save_plot
from recsweep.report.tables import comparison_table, report_tables

__all__ = ["comparison_table", "plot_precision_recall", "plot_training_curves", "report_tables", "save_plot"]
