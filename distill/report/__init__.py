"""report.json: what it holds, and how it is shown. Refuses to measure anything itself."""
