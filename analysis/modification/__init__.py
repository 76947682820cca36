"""Real images changed towards another class: how large a change it takes, which targets are reached, pictures."""
