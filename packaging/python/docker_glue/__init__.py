"""Base classes for plugins of docker-glue.

    from docker_glue import BaseHandler

    class Greeter(BaseHandler):
        def handle(self, event, container_id):
            print(f"{event} of {container_id}")

In a file greeter.py of the plugin path, it is named by `class=python:greeter.Greeter`.
"""

__all__ = ["Agent", "BaseHandler"]


class Agent:
    """The event that is being handled, and its container."""

    def __init__(self):
        #: The event as sent by docker-glue: event, container_id, container_name, time, attributes,
        #: description; and source, if docker-glue follows several engines.
        self.event = {}

    @property
    def description(self):
        """The output of `docker inspect` for the container; None if there is none or it is unknown."""
        return self.event.get("description")


class BaseHandler:
    """Base class of handlers. One instance handles all events, one after the other."""

    def __init__(self, agent, ini_file, ini):
        #: An Agent.
        self.agent = agent
        #: The path of the handler's file.
        self.ini_file = ini_file
        #: A configparser object: ini.get("params", "my-option").
        self.ini = ini
        #: If False, the handler gets no more events.
        self.enabled = ini.getboolean("handler", "enabled", fallback=True)
        events = ini.get("handler", "events", fallback="") or ""
        #: The events that the file requests.
        self.events = [event.strip() for event in events.split(",") if event.strip()]
        self.triggers_none = ini.getboolean("handler", "triggers-none", fallback=False)

    def handle(self, event, container_id):
        """Handles an event. An exception is reported to docker-glue and affects only this event.

        event: "start", "health_status: healthy", …, or "none"; container_id: 64 digits, or "".
        """
        raise NotImplementedError(f"{type(self).__name__} has no method handle")
