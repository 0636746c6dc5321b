"""What a table of ours holds, for the page of its asset: read from the models, said once."""

import dagster as dg

from core.models import Base


def table_metadata(model: type[Base]) -> dict[str, object]:
    """The table's name and its columns with their types and meanings."""
    table = Base.metadata.tables[f"{model.__table_args__[-1]['schema']}.{model.__tablename__}"]
    columns = [
        dg.TableColumn(
            name=column.name,
            type=str(column.type.compile()).lower(),
            description=column.doc,
            constraints=dg.TableColumnConstraints(
                nullable=bool(column.nullable), unique=bool(column.unique)
            ),
        )
        for column in table.columns
    ]
    return {
        "dagster/table_name": table.fullname,
        "dagster/column_schema": dg.TableSchema(columns=columns),
    }
