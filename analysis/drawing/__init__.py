"""Matplotlib and video: charts, pages of small images, text labels, pixel operations, video files."""
