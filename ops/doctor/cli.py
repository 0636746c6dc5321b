"""The subcommand `doctor`."""

import typer
from sqlalchemy.exc import SQLAlchemyError

from core.database import session_scope
from core.errors import EcomCRMError
from core.settings import Settings
from core.shops import all_shops
from ops import shops
from ops.commands import world_of
from ops.doctor.dns_records import TextRecords, safe_text_records
from ops.doctor.findings import Finding, fail, has_failed
from ops.doctor.installation import check_installation
from ops.doctor.mail import check_mail
from ops.doctor.shops import check_shop
from ops.shopify_cli import AsJson, Shop, environ, print_json


def doctor(*, shop: Shop = None, as_json: AsJson = False) -> None:
    """Look at all that mail needs to arrive, and say what to do; exit code 1 if something fails."""
    findings = examine(world_of(environ()).settings, shop=shop, ask=safe_text_records)
    if as_json:
        print_json({"checks": [each.as_json() for each in findings]})
    else:
        for each in findings:
            print(each.line())
    if has_failed(findings):
        raise typer.Exit(1)


def examine(settings: Settings, *, shop: str | None, ask: TextRecords) -> list[Finding]:
    """Everything, in one list. `ask` looks text records up."""
    findings = list(check_installation(settings))
    wanted = []
    try:
        with shops.database(settings) as factory, session_scope(factory) as session:
            wanted = [each for each in all_shops(session) if shop in (None, each.domain)]
            for each in wanted:
                findings += check_shop(session, each)
    except (EcomCRMError, SQLAlchemyError) as error:
        findings.append(fail("shops", f"cannot be read: {type(error).__name__}", ""))
    if not wanted and not has_failed(findings):
        name = shop or "no shop"
        findings.append(fail("shops", f"{name} is not connected", "ecomcrm shop add NAME"))
    findings += check_mail(settings, wanted, ask)
    return findings


def add_to(app: typer.Typer) -> None:
    """Make this part of the `ecomcrm` command."""
    app.command()(doctor)
