"""Where traces come from: ``history`` reads what Temporal has recorded, ``journal`` what the core has."""

__all__: list[str] = []
