"""One engine that runs the layers of a network one after another, with weights that are streamed in for every image."""
