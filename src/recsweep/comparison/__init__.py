"""Models side by side: intervals, contrasts, words, plots and the page."""
