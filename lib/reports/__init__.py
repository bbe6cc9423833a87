"""What is taken away from the results board: tables as CSV, Markdown and LaTeX, and one HTML page with the pictures."""
