"""``python -m lora_teach``."""

import sys
import warnings

from lora_teach.cli import main

if __name__ == "__main__":
    warnings.formatwarning = lambda message, *_, **__: f"lora_teach: {' '.join(str(message).split())}\n"  # one line
    sys.exit(main())
