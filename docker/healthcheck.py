"""Says by its exit code whether a container works: `healthcheck.py app` or `healthcheck.py worker`.

The app answers /healthz. The worker has no port; its heartbeat stands in the database, so with
several workers on one database the check fails only when all of them are silent.
"""

import sys
from http.client import HTTPConnection

from app.settings import Settings, load_settings

_TIMEOUT_S = 5
_SILENCE_S = 60
_HEARTBEAT = (
    "SELECT EXISTS (SELECT FROM procrastinate_workers"
    " WHERE last_heartbeat > now() - make_interval(secs => %s))"
)


def app_works(settings: Settings) -> bool:
    """Whether the app answers on its own port."""
    host = settings.http.host.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    connection = HTTPConnection(host, settings.http.port, timeout=_TIMEOUT_S)
    connection.request("GET", "/healthz")
    return connection.getresponse().status == 200


def worker_works(settings: Settings) -> bool:
    """Whether a worker reported to the database within the last minute."""
    import psycopg

    if settings.database.url is None:
        raise SystemExit("the worker's health is read from OPORA_DATABASE__URL, which is not set")
    url = settings.database.url.get_secret_value()
    with psycopg.connect(url, connect_timeout=_TIMEOUT_S) as connection:
        return connection.execute(_HEARTBEAT, (_SILENCE_S,)).fetchone() == (True,)


if __name__ == "__main__":
    check = {"app": app_works, "worker": worker_works}[sys.argv[1]]
    sys.exit(0 if check(load_settings()) else 1)
