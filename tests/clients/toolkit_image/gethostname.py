"""Stands for the toolkit's C extension of this name, for which a compiler would be needed.

The toolkit imports it always, and uses it for MPI jobs alone, in which it is preloaded.
"""
