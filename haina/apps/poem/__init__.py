"""Classical verse: forms as values, a Rule over characters that cannot leave them, a choice among poems."""
