"""`serve`: the grader over HTTP."""

import socket
import sys
from contextlib import suppress

import click

from lib.cli.output import note
from lib.errors import UserError
from lib.service.settings import TOKEN_VARIABLE, ServiceSettings, new_token

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.option("--run", "run_id", required=True, metavar="ID|BUNDLE.zip", help="The classifier: a run or a bundle.")
@click.option("--port", type=click.IntRange(1, 65535), default=8600, show_default=True, help="Where to listen.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--token", envvar=TOKEN_VARIABLE,
    help=f"Who sends it may ask; better given as {TOKEN_VARIABLE}, which no list of processes shows.",
)  # fmt: skip
@click.option("--per-minute", type=click.IntRange(1), default=300, show_default=True, help="Requests a minute.")
def serve(run_id: str, port: int, host: str, token: str | None, per_minute: int) -> None:
    """Grade over HTTP until it is interrupted: one image, many or a zip, with the answers of `grade --json`.

    Without a token one is made and printed. Nothing that is sent is stored, and no file name is written to a log.
    """
    settings = ServiceSettings(token=token or new_token(), requests_per_minute=per_minute)
    with _listening_socket(host, port) as opened:
        import uvicorn

        from lib.grading.grader import Grader
        from lib.service.app import create_app

        grader = Grader.open(run_id)
        config = uvicorn.Config(
            create_app(grader, settings), log_config=None, log_level="warning", access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=5,
        )  # fmt: skip
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        click.echo(f"Grading by {grader.run[:8] or run_id} on {address}; Ctrl+C ends it.")
        if not token:
            click.echo(f"Token: {settings.token}")
        if host not in _LOOPBACK:
            note("Other machines can reach this address, and nothing is encrypted: put a server with TLS before it.")
        if grader.header.notice:
            click.echo(grader.header.notice)
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):  # uvicorn raises it again after it has answered what was asked
            uvicorn.Server(config).run(sockets=[opened])
        click.echo("Ended.")


def _listening_socket(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"There is no address {host!r} on this machine ({error.strerror or error}).") from None
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        # Without it a second service could take the same port until the first one listens.
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise UserError(
            f"The service cannot listen on {host}:{port} ({error.strerror}); choose another --port or --host."
        ) from None
    return opened
