"""The playground: choose a material and settings, train, compare. The page stays alive while it trains."""

from lora_teach.pictures.playground.view import Playground

__all__ = ["Playground"]
