"""Images generated for a class: how judges see them, contact sheets, recipes compared, videos, recipe searches."""
