"""The steps of the recipe: each reads and writes the run folder, is handed its parts and knows no other step."""
