"""What the course trains on: a photo, small digits, and names in several languages.

Each module is imported by name, so that nothing is loaded before it is used::

    from lora_teach.datasets import digits, names, photo
"""
