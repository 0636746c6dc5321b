"""The subcommands about mails: what they look like, and the settings they take it from."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from html import escape
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from activation.rendering.brand import (
    Brand,
    brand_of,
    read_settings,
    save_settings,
)
from activation.rendering.content import MailContent
from activation.rendering.samples import BRAND, SAMPLES
from activation.rendering.templates import RenderedMail, load_template, render_mail, template_names
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import Shop as ShopRow
from ops import shops
from ops.commands import world_of
from ops.progress import Progress
from ops.shopify_cli import AsJson, Shop, environ, print_json

CODE: Final = "COMEBACK10"
INDEX: Final = "index.html"
PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Mails</title>
<style>
  body {{ font: 15px/1.5 system-ui, sans-serif; margin: 40px auto; max-width: 720px; }}
  td {{ padding: 6px 24px 6px 0; }}
</style>
<h1>Mails</h1>
<table>{rows}</table>
</html>
"""

mails_app = typer.Typer(help="What mails look like, and by whom they are.", no_args_is_help=True)


@mails_app.command("write")
def mails_write(
    folder: Annotated[Path, typer.Argument(help="Where to; made if it is not there.")],
    *,
    shop: Shop = None,
) -> None:
    """Write every mail as HTML and text, for the usual customer and for the odd ones."""
    brand = BRAND
    if shop is not None:
        with shops.database(world_of(environ()).settings) as factory:
            brand = brand_in(factory, shop)
    names = write_mails(folder, brand)
    Progress().say(f"{len(names)} mails in {folder}; open {folder / INDEX}")


@mails_app.command("look")
def mails_look(
    *,
    shop: Shop = None,
    sender_name: Annotated[str | None, typer.Option(help="Whom mails are from.")] = None,
    sender_address: Annotated[
        str | None, typer.Option(help="On a domain that the provider has verified.")
    ] = None,
    reply_to: Annotated[str | None, typer.Option(help="Where answers go.")] = None,
    postal_address: Annotated[
        str | None, typer.Option(help="Street and town; the law asks for it in every mail.")
    ] = None,
    accent_color: Annotated[str | None, typer.Option(help="Such as #2f5d50.")] = None,
    background_color: Annotated[str | None, typer.Option(help="Around the mail.")] = None,
    logo_url: Annotated[str | None, typer.Option(help="https; empty for none.")] = None,
    logo_dark_url: Annotated[str | None, typer.Option(help="For dark backgrounds.")] = None,
    logo_width: Annotated[int | None, typer.Option(help="In pixels, 24 to 320.")] = None,
    mail_font: Annotated[
        str | None, typer.Option(help="modern, editorial, classic or plain.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a shop's mail settings; what is named is changed first."""
    given = {
        "sender_name": sender_name,
        "sender_address": sender_address,
        "reply_to": reply_to,
        "postal_address": postal_address,
        "accent_color": accent_color,
        "background_color": background_color,
        "logo_url": logo_url,
        "logo_dark_url": logo_dark_url,
        "logo_width": logo_width,
        "mail_font": mail_font,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    with shops.database(world_of(environ()).settings) as factory:
        report = look(factory, shop, changes)
    if as_json:
        print_json({"looks": report})
        return
    for each in report:
        print(look_text(each))


def write_mails(folder: Path, brand: Brand) -> list[str]:
    """Returns the names of what was written, without their endings."""
    folder.mkdir(parents=True, exist_ok=True)
    mails = {
        f"{name}-{sample}": mail_of(name, sample, brand)
        for name in template_names()
        for sample in SAMPLES
    }
    for name, mail in mails.items():
        (folder / f"{name}.html").write_text(mail.html, encoding="utf-8")
        (folder / f"{name}.txt").write_text(
            f"Subject: {mail.subject}\n\n{mail.text}", encoding="utf-8"
        )
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td><a href="{name}.html">HTML</a></td>'
        f'<td><a href="{name}.txt">text</a></td><td>{escape(mail.subject)}</td></tr>\n'
        for name, mail in mails.items()
    )
    (folder / INDEX).write_text(PAGE.format(rows=rows), encoding="utf-8")
    return list(mails)


def mail_of(name: str, sample: str, brand: Brand) -> RenderedMail:
    """A code in every mail but the usual one, so that both are seen."""
    template = load_template(name)
    facts = SAMPLES[sample]
    if template.shows.value != "cart":  # only a cart has a sum that is still to be paid
        facts = replace(facts, purchase=replace(facts.purchase, total=""))
    code = CODE if sample != "usual" or name == "win_back" else None
    return render_mail(template, MailContent(discount_code=code), brand, facts)


def look(
    factory: SessionFactory, shop: str | None, changes: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Settings of one shop or all. PermanentError names everything that cannot be kept."""
    known = shops.connected_shops(factory, shop)
    if changes and len(known) > 1:
        raise PermanentError("Say which shop: --shop name.myshopify.com.")
    report = []
    with session_scope(factory) as session:
        for domain, shop_id in known.items():
            settings = read_settings(session.get_one(ShopRow, shop_id))
            if changes:
                settings = save_settings(session, shop_id, replace(settings, **changes))
            report.append({"shop": domain, **asdict(settings)})
    return report


def brand_in(factory: SessionFactory, shop: str) -> Brand:
    [shop_id] = shops.connected_shops(factory, shop).values()
    with session_scope(factory) as session:
        return brand_of(session.get_one(ShopRow, shop_id))


def look_text(report: Mapping[str, Any]) -> str:
    rows = [(name.replace("_", " "), value) for name, value in report.items() if name != "shop"]
    shown = [f"    {name:<17} {str(value).replace(chr(10), ', ') or '-'}" for name, value in rows]
    return "\n".join([str(report["shop"]), *shown])


def add_to(app: typer.Typer) -> None:
    app.add_typer(mails_app, name="mails")
