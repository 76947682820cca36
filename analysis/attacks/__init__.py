"""How fragile a model is: success rates, curves, minimum ε, confusion and triptychs of attack sweeps; masked gradients."""
