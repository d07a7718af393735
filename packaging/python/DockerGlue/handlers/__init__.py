"""Where `from . import BaseHandler` leads."""

import pkgutil

from docker_glue import BaseHandler

__all__ = ["BaseHandler"]
__path__ = pkgutil.extend_path(__path__, __name__)
