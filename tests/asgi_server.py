"""An ASGI application on a socket of its own, in a thread. PYTEST_DONT_REWRITE

    with served(app, http=Connection) as url: ...

The options are those of `uvicorn.Config`.
"""

import contextlib
import socket
import threading

import uvicorn


@contextlib.contextmanager
def served(app, **options):
    """Its URL, while it is served on a free port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", access_log=False, **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()  # the socket listens already: a client that comes early waits in its queue
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
