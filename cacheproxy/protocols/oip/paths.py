"""The protocol's paths: what each asks for, and who answers.

==============================================  =======  ==========================================================
path                                            method   who answers
==============================================  =======  ==========================================================
``/v2``                                         GET      the gateway, without a key: 200 and `server_metadata`
``/v2/health/live``                             GET      the gateway, without a key: 200 and `LIVE`
``/v2/health/ready``                            GET      the gateway, without a key: `ready`
``/v2/models/{model}[/versions/{version}]``     GET      the model's server, to a key that may use it, unmetered
``… /ready``                                    GET      the same
``… /infer``                                    POST     the metered flow
==============================================  =======  ==========================================================

The model's server is asked at `upstream_path` after its url; what it answers goes to the client as it comes.
"""

from typing import Literal, NamedTuple

from cacheproxy.protocols import document
from cacheproxy.protocols.oip.infer import model_path

Asked = Literal["server", "live", "ready", "model", "model_ready", "infer"]
_OF_THE_SERVER: dict[str, Asked] = {"/v2": "server", "/v2/health/live": "live", "/v2/health/ready": "ready"}
_OF_A_MODEL: dict[str, Asked] = {"ready": "model_ready", "infer": "infer"}
_MODELS = "/v2/models/"
_VERSIONS = "/versions/"

LIVE = b'{"live":true}'


class Place(NamedTuple):
    """What a path asks for. `model` and `version` are set where the path names them."""

    asked: Asked
    model: str = ""
    version: str = ""

    @property
    def method(self) -> str:
        """Return the one method that it is asked with."""
        return "POST" if self.asked == "infer" else "GET"

    @property
    def needs_key(self) -> bool:
        """Whether only a key that may use the model gets an answer."""
        return bool(self.model)

    def upstream_path(self, upstream_model: str) -> str:
        """Return the path of the same question to the model's own server."""
        path = model_path(upstream_model, self.version)
        return f"{path}/ready" if self.asked == "model_ready" else path


def find_place(path: str) -> Place | None:
    """Return what a decoded path asks for, or None. A model's name may hold slashes."""
    if asked := _OF_THE_SERVER.get(path):
        return Place(asked)
    name = path.removeprefix(_MODELS)
    if name == path or not name or name.startswith("/"):
        return None
    before, _, last = name.rpartition("/")
    asked = _OF_A_MODEL.get(last, "model") if before else "model"
    if asked != "model":
        name = before
    model, versions, version = name.rpartition(_VERSIONS)
    if not versions:
        return Place(asked, name)
    return Place(asked, model, version) if model and version and "/" not in version else None


def server_metadata(version: str) -> bytes:
    """Return what this server is, by the gateway's version."""
    return document.write({"name": "zerorate", "version": version, "extensions": ["binary_tensor_data"]})


def ready(*, is_ready: bool) -> tuple[int, bytes]:
    """Return status and body that say whether calls can be served."""
    return (200, b'{"ready":true}') if is_ready else (503, b'{"ready":false}')
