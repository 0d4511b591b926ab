"""`toolgate audit erase`, `rotate-key`, `retire`, `witness`: what people do to a log without harming its proof.

Each of them is itself a record in the command line's own log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.present import DEFAULT_POLICIES, Policies, Root, safe
from gateway.cli.progress import progressing

By = Annotated[str, typer.Option("--by", help="Who does it.")]
Why = Annotated[str, typer.Option("--why", help="For what reason.")]
Origin = Annotated[str, typer.Argument(help="The log's origin, as `toolgate audit verify` names it.", metavar="ORIGIN")]


def register(app: typer.Typer) -> None:
    """Put the commands beside the other ones about the log."""
    app.command("erase")(erase)
    app.command("rotate-key")(rotate_key)
    app.command("retire")(retire)
    app.command("witness")(witness)


def erase(
    subject: Annotated[str, typer.Argument(help="The principal, or whom calls were made for.", metavar="SUBJECT")],
    by: By,
    why: Why,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
) -> None:
    """Make a person's personal data in the log unreadable for good, by destroying its key. Proofs stay whole."""
    from gateway.audit.subjects import SubjectKeys
    from gateway.domain.event import SubjectErased
    from gateway.keys import Keys
    from gateway.office import Office

    with Office.open(policies, home) as office:
        keys = Keys.open(office.home.keys / "deployment")
        erased = SubjectKeys(office.home.keys / "subjects", keys).erase(subject)
        results = office.store.forget_results(subject)
        office.record(SubjectErased(subject, erased.subject, erased.keys, by, why))
    if results:
        typer.echo(f"removed the results of {results} spent request(s)")
    if erased.keys:
        typer.echo(f"erased {safe(subject)}: {len(erased.keys)} key(s) destroyed, and recorded")
        typer.echo("requests that still wait hold their data until they end; so do backups of the keys folder")
    else:
        typer.echo(f"nothing was sealed for {safe(subject)}; the wish is recorded")


def rotate_key(origin: Origin, by: By, why: Why, policies: Policies = DEFAULT_POLICIES, home: Root = None) -> None:
    """Hand an origin on to a new signing key; the old one signs the new. Stop its process first."""
    from gateway.audit import origin as origins
    from gateway.audit.errors import KeyProblem
    from gateway.audit.lock import OriginLock
    from gateway.audit.segment import Place
    from gateway.domain.event import KeyRotated
    from gateway.office import Office

    with Office.open(policies, home) as office:
        where = office.home
        place = Place(origin, where.audit, where.checkpoints)
        keys = origins.load_keyrings(where.trust).get(origin)
        if keys is None or not place.checkpoint.exists():
            raise KeyProblem(place.checkpoint, "missing: this origin has signed nothing yet, so nothing is handed on")
        lock = OriginLock(place.lock, origin)
        try:
            signed = keys.checkpoint(place.checkpoint.read_bytes())
            new = origins.rotate_key(origin, where.keys, where.trust, signed)
        finally:
            lock.release()
        office.record(KeyRotated(origin, signed.size, keys.current.key_id.hex(), new.key_id.hex(), by, why))
    typer.echo(
        f"{origin}: key {new.key_id.hex()} signs from record {signed.size} on; give the trust folder to verifiers"
    )


def retire(
    origin: Origin,
    keep_days: Annotated[float, typer.Option("--keep-days", min=0, help="Keep what is younger than this.")],
    by: By,
    why: Why,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
) -> None:
    """Remove old segments; what is left, and copies of what went, can still be proven.

    A segment stays while it holds anything young enough, a call nobody has settled, or what explains a claim
    or a doubt that is still there. The newest always stays.
    """
    import time

    from gateway.audit.errors import KeyProblem
    from gateway.audit.files import OsFiles
    from gateway.audit.intents import needed_records
    from gateway.audit.newest import first_time_ns
    from gateway.audit.origin import load_keyrings, load_signer
    from gateway.audit.retention import read_retired, retire
    from gateway.audit.segment import Place, says_it_starts_at
    from gateway.clear.recovery import open_claims
    from gateway.domain.event import SegmentsRetired
    from gateway.office import Office, calls_in

    with Office.open(policies, home) as office:
        where = office.home
        keys = load_keyrings(where.trust).get(origin)
        if keys is None:
            raise KeyProblem(where.trust, f"origin {origin!r} is not enrolled")
        place = Place(origin, where.audit, where.checkpoints)
        signer = load_signer(origin, where.keys, where.trust)
        with progressing("reading the log") as progress:
            known = calls_in(where, progress)
        needed = needed_records(known, origin, open_claims(office.store, origin))
        now = time.time_ns()
        first, records = "", 0
        for segment in place.segments(read_retired(place, keys).first):
            start = says_it_starts_at(segment)
            if start is None or start > min(needed, default=start):
                break
            if first_time_ns(segment) > now - keep_days * 86_400 * 10**9:
                break
            first, records = segment.name, start
        if not first or records <= read_retired(place, keys).size:
            typer.echo(f"{origin}: nothing is old enough")
            return
        office.record(SegmentsRetired(origin, records, first, by, why))
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now // 10**9))
        done = retire(place, keys, signer, OsFiles(), first, stamp)
    typer.echo(f"{origin}: {done.size} records are retired; the log goes on with {done.first}")


def witness(
    folder: Annotated[Path, typer.Option("--folder", help="Where the last checkpoint of each log is kept.")],
    trust: Annotated[Path, typer.Option("--trust", help="A copy of the trust folder of the logs.")],
    key: Annotated[Path, typer.Option("--key", help="The witness's own key; made if it is not there.")],
    name: Annotated[str, typer.Option("--name", help="The name it signs under, such as example.org/witness.")],
    listen: Annotated[str, typer.Option("--listen", help="Address and port.")] = "127.0.0.1:8017",
) -> None:
    """Run a reference witness (C2SP tlog-witness) until it is stopped. Put it on another machine."""
    import secrets

    from gateway.audit.cosignature import Cosigner
    from gateway.audit.origin import load_keyrings
    from gateway.audit.witness_server import serve
    from gateway.keys import read_private, write_private

    if not key.exists():
        write_private(key, secrets.token_bytes(32))
    cosigner = Cosigner(name, read_private(key, 32))
    host, _, port = listen.rpartition(":")
    if not port.isdecimal():
        raise typer.BadParameter("write it as 127.0.0.1:8017", param_hint="--listen")
    server = serve((host.strip("[]"), int(port)), folder, lambda: load_keyrings(trust), cosigner)
    typer.echo(f"key for settings.yaml, audit.witness.key: {cosigner.key}")
    typer.echo(f"listening on {server.server_address[0]!s}:{server.server_port}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
