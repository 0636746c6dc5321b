"""What the made-up shop sells: products with variants, prices in cents and their season."""

# Letters and signs that only look like others are the point of this file.
# ruff: noqa: RUF001

from typing import NamedTuple


class Product(NamedTuple):
    """`popularity` is a relative weight; `season` is "winter", "summer" or "" for all year."""

    sku: str
    title: str
    price: int
    variants: tuple[str, ...] = ()
    popularity: int = 5
    season: str = ""


_COLOURS = ("Oat", "Moss", "Slate")
_TOWEL = ("50×100 cm", "70×140 cm")
_BED = ("135×200 cm", "155×220 cm", "200×200 cm")

CATALOGUE: tuple[Product, ...] = (
    # kitchen and table
    Product("KIT-MUG", "Stoneware Mug", 1690, _COLOURS, 14),
    Product("KIT-ESP", "Espresso Cups, Set of 2", 2290, _COLOURS, 8),
    Product("KIT-PLT", "Dinner Plate", 2190, _COLOURS, 8),
    Product("KIT-BWL", "Ramen Bowl", 2490, _COLOURS, 7),
    Product("KIT-SRV", 'Serving Board 16" Oak', 4900, (), 5),
    Product("KIT-SAP", "Salt & Pepper Mills", 5450, ("Beech", "Walnut"), 5),
    Product("KIT-JAR", "Storage Jar with Cork Lid", 1890, ("0.5 l", "1 l", "2 l"), 9),
    Product("KIT-TEA", "Cast Iron Teapot", 6900, ("Black", "Moss"), 3),
    Product("KIT-FRP", "French Press", 4490, (), 4),
    Product("KIT-APR", "Linen Apron", 4200, _COLOURS, 4),
    Product("KIT-NAP", "Linen Napkins 40/40, Set of 4", 3200, _COLOURS, 6),
    Product("KIT-TBL", "Linen Tablecloth", 8900, ("140×180 cm", "140×260 cm"), 3),
    Product("KIT-TWL", "Waffle Tea Towels, 3-pack", 2400, _COLOURS, 9),
    Product("KIT-KNF", "Chef's Knife 20 cm", 8900, (), 3),
    Product("KIT-CAS", "Enamelled Casserole 4.5 l", 14900, ("Cream", "Slate"), 2),
    Product("KIT-CAR", "Glass Carafe & Tumbler", 3490, (), 5),
    # bath
    Product("BTH-TWL", "Organic Cotton Towel", 2690, _TOWEL, 10),
    Product("BTH-MAT", "Bath Mat", 3490, _COLOURS, 5),
    Product("BTH-SOP", "Olive Oil Soap", 890, ("Lavender", "Rosemary", "Unscented"), 15),
    Product("BTH-SAL", "Sea Salt Scrub", 1890, (), 7),
    Product("BTH-OIL", "Bath Oil Fir & Juniper", 2450, (), 6, "winter"),
    Product("BTH-ROB", "Waffle Bathrobe", 8900, ("S/M", "L/XL"), 3),
    Product("BTH-BRS", "Beech Body Brush", 1490, (), 4),
    Product("BTH-DSP", "Soap Dispenser", 2290, _COLOURS, 4),
    # bed and sofa
    Product("BED-LIN", "Washed Linen Duvet Cover", 15900, _BED, 3),
    Product("BED-PIL", "Washed Linen Pillowcase", 3900, ("40×80 cm", "80×80 cm"), 6),
    Product("BED-SHT", "Percale Fitted Sheet", 6900, _BED, 4),
    Product("BED-BLK", "Merino Throw", 12900, _COLOURS, 3, "winter"),
    Product("BED-CSH", "Cushion Cover 50/50", 3490, _COLOURS, 7),
    Product("BED-FIL", "Feather Cushion Insert", 1990, (), 4),
    Product("BED-HWB", "Wool Hot-Water Bottle", 3290, (), 5, "winter"),
    Product("BED-SLP", "Felt Slippers", 4900, ("36/37", "38/39", "40/41", "42/43"), 6, "winter"),
    # light and scent
    Product("LGT-CND", "Soy Candle", 2490, ("Fig", "Cedar", "Orange & Clove"), 13),
    Product("LGT-CNX", "Soy Candle, Three Wicks", 4990, ("Fig", "Cedar"), 4),
    Product("LGT-TAP", "Dinner Candles, Box of 6", 1590, _COLOURS, 8, "winter"),
    Product("LGT-HLD", "Brass Candle Holder", 2890, (), 4),
    Product("LGT-DIF", "Reed Diffuser", 3290, ("Fig", "Cedar"), 6),
    Product("LGT-LMP", "Paper Table Lamp", 7900, (), 3),
    Product("LGT-STR", "String Lights 10 m", 2990, (), 5, "winter"),
    Product("LGT-LAN", "Garden Lantern", 3990, (), 3, "summer"),
    # desk and walls
    Product("DSK-NTB", "Clothbound Notebook A5", 1590, ("Dotted", "Lined", "Plain"), 9),
    Product("DSK-PLN", "Weekly Planner", 2490, (), 5, "winter"),
    Product("DSK-PEN", "Brass Ballpoint", 3900, (), 4),
    Product("DSK-CRD", "Letterpress Cards, Set of 8", 1890, (), 7, "winter"),
    Product("WAL-FRM", "Oak Frame", 2990, ("A5", "A4", "A3"), 6),
    Product("WAL-PRT", "Art Print »Tide Table«", 2900, ("A4", "A3"), 5),
    Product("WAL-CLK", "Wall Clock Ø 30 cm", 8900, ("Ash", "Black"), 2),
    Product("WAL-HKS", "Coat Hooks, 3/4/5 Pegs", 4490, ("3 pegs", "4 pegs", "5 pegs"), 4),
    # garden and outdoors
    Product("GRD-POT", "Terracotta Pot", 1890, ("Ø 14 cm", "Ø 20 cm", "Ø 28 cm"), 7, "summer"),
    Product("GRD-CAN", "Watering Can 1.5 l", 3490, _COLOURS, 4, "summer"),
    Product("GRD-SEE", "Wildflower Seeds <Bees & Butterflies>", 690, (), 9, "summer"),
    Product("GRD-SHR", "Garden Shears", 3990, (), 3, "summer"),
    Product("GRD-PIC", "Picnic Blanket", 6900, ("Moss", "Slate"), 3, "summer"),
    Product("GRD-BSK", "Willow Basket", 4490, ("S", "M", "L"), 4),
    Product("GRD-HAM", "Cotton Hammock", 9900, (), 1, "summer"),
    # gifts
    Product("GFT-WRP", "Gift Wrapping", 450, (), 8),
    Product("GFT-ADV", "Advent Calendar, Paper Houses", 2990, (), 6, "winter"),
    Product("GFT-ORN", "Glass Ornaments, Box of 4", 2790, ("Clear", "Amber"), 6, "winter"),
    Product("GFT-BOX", 'Gift Box "Quiet Sunday"', 7900, (), 4),
    Product("GFT-TOT", "Canvas Tote Bag", 1790, ("Natural", "Black"), 6),
)
