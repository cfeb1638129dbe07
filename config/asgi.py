"""Both planes on one port: ``uvicorn config.asgi:application``.

``/v1/…`` and ``/v2/…`` go to the gateway, with no Django on their way. All else goes to Django, as WSGI in a
small pool of threads: its ASGI handler makes and tears down a thread per request.
"""

from typing import Any, cast

from a2wsgi import WSGIMiddleware

from config import env
from config.gateway import Server
from config.gateway import application as data_plane
from config.wsgi import application as django

CONTROL_PLANE_THREADS = 8

control_plane: Any = WSGIMiddleware(cast("Any", django), workers=CONTROL_PLANE_THREADS)
application = Server(data_plane.gateway, control_plane, metrics_token=env.text("METRICS_TOKEN"))
