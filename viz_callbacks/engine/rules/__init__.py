"""The backward rules: a few lines for each type of layer. ``engine.backward`` has the table of them."""
