"""Two daemons of one configuration, of which one leads and the other knows all that it knows."""
