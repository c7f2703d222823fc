"""`vgg`, the largest network: the teacher of FER2013."""

from fer.training.networks.deep import Deep


class VGG(Deep):
    """VGG (Simonyan and Zisserman 2014, arXiv:1409.1556) with residual connections.

    The width is a factor on the channels; 1 gives 5,280,071 parameters.
    """

    STAGES = ((64, 2), (128, 2), (256, 3), (512, 2))
    DROPOUT = 0.4
