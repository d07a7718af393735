"""The names of Docker Glue, so that plugins that were written for it run unchanged.

They are found where they were: as DockerGlue/handlers/NAME.py in a folder of the plugin path.
"""

import builtins
import logging
import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)

# The example of Docker Glue's manual uses it without importing it, and so do those made after it.
builtins.logging = logging
