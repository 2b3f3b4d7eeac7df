"""``python -m lora_teach``."""

import sys

from lora_teach.cli import main

if __name__ == "__main__":
    sys.exit(main())
