"""The pictures of the course, a folder each: ``numbers.py`` computes, ``view.py`` draws, moves and says its sentence."""
