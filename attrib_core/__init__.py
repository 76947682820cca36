"""The science: classifiers, attacks, generation and attribution in pure torch."""
