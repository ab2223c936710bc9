"""One module for each subject; each has one theme or more."""

from __future__ import annotations

from tests.shadow.corpus.programs import (
    activities,
    attributes,
    chains,
    children,
    context,
    converters,
    determinism,
    examples,
    failures,
    local,
    messages,
    operations,
    payloads,
    scripts,
    timers,
    versions,
)
from tests.shadow.corpus.theme import Theme

THEMES: dict[str, Theme] = {
    theme.name: theme
    for theme in (
        activities.theme,
        attributes.theme,
        chains.theme,
        children.theme,
        context.theme,
        converters.codec,
        converters.points,
        converters.pydantic,
        determinism.theme,
        examples.theme,
        failures.theme,
        local.theme,
        messages.theme,
        operations.theme,
        payloads.theme,
        scripts.theme,
        timers.theme,
        versions.theme,
    )
}
