"""Open any picture, find the faces in it, crop them like those of FER2013."""
