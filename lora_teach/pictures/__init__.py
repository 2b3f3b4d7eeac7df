"""The pictures of the course, a folder each: ``numbers.py`` computes, ``view.py`` draws and moves."""
