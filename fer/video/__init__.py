"""Read and write videos, follow faces from frame to frame, sum up their emotions over time.

Needs PyAV, which the extra `video` installs.
"""

from fer.video.reader import Camera, Video
from fer.video.tracker import Frame, predict_video

__all__ = ["Camera", "Frame", "Video", "predict_video"]
