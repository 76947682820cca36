"""What pages are made of: the site that is written, templates, charts as SVG, tables, pictures."""
