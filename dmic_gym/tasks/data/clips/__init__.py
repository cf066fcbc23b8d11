"""Where clips come from: synthetic cine angiograms, DAVIS, folders of frames and video files."""
