"""What all sweeps over the images of a data set share."""
