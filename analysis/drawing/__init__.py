"""What figures and videos are drawn with: charts, grids of images, labels, video files."""
