"""What holds for every test: the same run is the same run, on a slow machine too."""

from hypothesis import settings

settings.register_profile("house", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("house")
