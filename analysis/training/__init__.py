"""How attribution changes along a training: curves, recapitulation, sums of gradients, videos.

These modules may import from `analysis.attribution`, as their rows are attributions; nothing there imports from
here.
"""
