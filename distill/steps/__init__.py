"""The steps of the recipe: each works on the run folder, is handed its parts and knows no other step."""
