"""How fragile a model is: success rates, curves, minimum ε, confusion, triptychs, masked gradients."""
