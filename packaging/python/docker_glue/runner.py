"""Runs one plugin for docker-glue: python3 -m docker_glue.runner MODULE CLASS

GLUE_INI in the environment is the path of the handler's file.
Events come as JSON lines on standard input, and each is answered on standard output (the manual of
docker-glue describes both). The plugin itself gets neither: what it prints goes to the log.
"""

import configparser
import importlib
import json
import logging
import os
import sys

from . import Agent

logger = logging.getLogger("docker_glue")


def take_over():
    """Gives the plugin and its child processes an empty input, and sends their output to the log."""
    events = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)
    return events, answers


def read_ini(path):
    # Without interpolation of %, as in docker-glue.
    ini = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    with open(path, encoding="utf-8") as file:
        ini.read_file(file)
    return ini


def make(path, module_name, class_name, agent):
    module = importlib.import_module(module_name)
    if getattr(module, "__file__", None):
        os.chdir(os.path.dirname(os.path.abspath(module.__file__)))
    return getattr(module, class_name)(agent, path, read_ini(path))


def answer(handler, agent, line):
    agent.event = json.loads(line)
    try:
        if getattr(handler, "enabled", True):
            handler.handle(agent.event["event"], agent.event["container_id"])
        return {"ok": True}
    except Exception as error:
        logger.exception("the handler failed")
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    module_name, class_name = sys.argv[1:]
    path = os.environ["GLUE_INI"]
    events, answers = take_over()

    def tell(what):
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    agent = Agent()
    handler = make(path, module_name, class_name, agent)
    tell({"ready": True})
    for line in events:
        tell(answer(handler, agent, line))


if __name__ == "__main__":
    main()
