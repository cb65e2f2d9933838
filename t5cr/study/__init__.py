"""The study of the paper: train the rows of Table 3, probe them, report."""
