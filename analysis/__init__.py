"""Tables and figures from committed results, with pandas and matplotlib alone."""
