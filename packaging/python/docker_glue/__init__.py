"""What a plugin of docker-glue is made of.

    from docker_glue import BaseHandler

    class Greeter(BaseHandler):
        def handle(self, event, container_id):
            print(f"{event} of {container_id}")

In a file greeter.py of the plugin path, it is named by `class=python:greeter.Greeter`.
"""

__all__ = ["Agent", "BaseHandler"]


class Agent:
    """What is known of the event that is being handled."""

    def __init__(self):
        #: All of it, as docker-glue says it: event, container_id, container_name, time, attributes,
        #: description.
        self.event = {}

    @property
    def description(self):
        """The container as `docker inspect` has it; None where none is meant or known."""
        return self.event.get("description")


class BaseHandler:
    """Extend it, and handle events. It is made once, and handles one event after the other."""

    def __init__(self, agent, ini_file, ini):
        #: An Agent.
        self.agent = agent
        #: The path of the handler's file.
        self.ini_file = ini_file
        #: A configparser object: ini.get("params", "my-option").
        self.ini = ini
        #: Set to False, it is told of nothing any more.
        self.enabled = ini.getboolean("handler", "enabled", fallback=True)
        events = ini.get("handler", "events", fallback="") or ""
        #: What the file asks for. Which events come is decided by the file.
        self.events = [event.strip() for event in events.split(",") if event.strip()]
        self.triggers_none = ini.getboolean("handler", "triggers-none", fallback=False)

    def handle(self, event, container_id):
        """Does what is to be done. An exception is told to docker-glue, and costs this event only.

        event: "start", "health_status: healthy", …, or "none"; container_id: 64 digits, or "".
        """
        raise NotImplementedError(f"{type(self).__name__} has no method handle")
