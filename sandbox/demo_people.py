"""Names for the made-up shop's customers, of many origins, with their language."""

# Letters and signs that only look like others are the point of this file.
# ruff: noqa: RUF001

import unicodedata
from typing import NamedTuple

DOMAINS = ("example.com", "example.org", "example.net")


class Origin(NamedTuple):
    """`weight` of 100; names are combined freely within one origin."""

    locale: str
    weight: int
    first: tuple[str, ...]
    last: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace("_", " ").split("|"))


ORIGINS: tuple[Origin, ...] = (
    Origin(
        "de",
        38,
        _words(
            "Anna|Jürgen|Lena|Björn|Käthe|Felix|Marie|Jonas|Sophie|Lukas|Greta|Paul|Ida|Emil|"
            "Frieda|Moritz|Johanna|Tobias|Nele|Henrik|Sabine|Uwe|Heike|Matthias|Jörg|Antje"
        ),
        _words(
            "Müller|Schäfer|Weiß|Krüger|Großmann|Schmidt|Fischer|Weber|Wagner|Becker|Hoffmann|"
            "Koch|Richter|Wolf|Schröder|Neumann|Schwarz|Zimmermann|Braun|Köhler|Lang|Vogel|"
            "Meyer-Lüdenscheidt|von_der_Heide|Jansen|Petersen"
        ),
    ),
    Origin(
        "en",
        20,
        _words(
            "Olivia|Jack|Amelia|Harry|Isla|George|Ava|Noah|Emily|Charlie|Grace|Thomas|Sophia|"
            "Oscar|Ruby|James|Ella|William|Siobhán|Ciarán"
        ),
        _words(
            "Smith|Jones|Taylor|Brown|O'Brien|Davies|Wilson|Evans|Thomas|O'Neill|Walker|Wright|"
            "Fitzgerald|Robinson|Thompson|Hughes|Bell|McAllister|Hart|Wood"
        ),
    ),
    Origin(
        "fr",
        8,
        _words("Chloé|Léa|Hugo|Zoé|Théo|Inès|Jules|Élodie|François|Anaïs|Maëlle|Jérôme"),
        _words("Martin|Dubois|Lefèvre|Moreau|Garçon|Girard|d'Estaing|Le_Gall|Beauséjour|Noël"),
    ),
    Origin(
        "nl",
        6,
        _words("Sanne|Daan|Fleur|Bram|Lotte|Sjoerd|Femke|Joost"),
        _words("de_Vries|van_den_Berg|Jansen|Bakker|'t_Hart|Visser|Dijkstra|van_'t_Hoff"),
    ),
    Origin(
        "es",
        5,
        _words("Lucía|José|Martina|Íñigo|Sofía|Andrés|Begoña|Joaquín"),
        _words("García|Muñoz|Núñez_Pérez|Ibáñez|López|Castaño|Ordóñez|Vázquez"),
    ),
    Origin(
        "it",
        4,
        _words("Giulia|Niccolò|Chiara|Matteo|Beatrice|Lorenzo"),
        _words("Rossi|D'Angelo|Bianchi|De_Luca|Esposito|Conti"),
    ),
    Origin(
        "pl",
        5,
        _words("Zofia|Paweł|Małgorzata|Łukasz|Agnieszka|Michał|Bożena"),
        _words("Nowak|Wiśniewska|Wójcik|Kowalczyk|Zieliński|Dąbrowski|Żak"),
    ),
    Origin(
        "da",
        4,
        _words("Søren|Freja|Åse|Mikkel|Bjørk|Signe|Jørgen"),
        _words("Jensen|Sørensen|Østergaard|Ågren|Nygård|Kjær|Björnsdóttir"),
    ),
    Origin(
        "tr",
        4,
        _words("Ayşe|Emre|Çağla|Oğuz|Işıl|Gülşen|İbrahim"),
        _words("Yılmaz|Öztürk|Şahin|Çelik|Kılıç|Güneş"),
    ),
    Origin("vi", 2, _words("Thảo|Minh|Hương|Đức"), _words("Nguyễn|Trần|Phạm|Đặng")),
    Origin("ja", 1, _words("美咲|翔太|葵|健"), _words("佐藤|鈴木|高橋|渡辺")),
    Origin("uk", 1, _words("Олена|Андрій|Соломія|Тарас"), _words("Шевченко|Коваль|Мельник")),
    Origin("el", 1, _words("Ελένη|Γιώργος|Δήμητρα"), _words("Παπαδόπουλος|Νικολάου|Ωραίου")),
    # Business buyers: characters that Shopify escapes in bulk results, and some that break CSV.
    Origin(
        "de",
        1,
        _words("Atelier|Praxis|Café"),
        _words('O\'Brien_&_Söhne/Nachf.|Licht_&_Form|Kunst/Werk_"Nord"|Tee_<&>_Ton'),
    ),
)


# Letters that do not decompose into a plain one and a mark.
_PLAIN = str.maketrans("øØłŁđĐı", "oOlLdDi")


def address(first: str, last: str, number: int) -> str:
    """A unique address that can never be delivered: example.com and its sisters are reserved."""
    name = ".".join(part for part in (_ascii(first), _ascii(last)) if part) or "customer"
    return f"{name}{number}@{DOMAINS[number % len(DOMAINS)]}"


def _ascii(name: str) -> str:
    plain = name.replace("ß", "ss").translate(_PLAIN)
    plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode().lower()
    return "".join(letter for letter in plain if letter.isalnum())
