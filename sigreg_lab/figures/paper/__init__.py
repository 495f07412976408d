"""The figures and tables of the LeJEPA paper, drawn anew: from stored results, theory and the published numbers."""
