"""The course as a page: every notebook as HTML, and ten pictures to drag before anything is installed.

Whoever opens it runs no Python: each place of a slider was drawn beforehand, by the views that the notebooks use.
"""
