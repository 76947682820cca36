"""What to run over whole label spaces and test sets, and what is written."""
