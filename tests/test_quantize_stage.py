from stages.quantize import loss_of_int8


def rows(float32, int8):
    return {
        "ONNX Runtime": {"val_accuracy": float32},
        "ONNX Runtime, our int8": {"val_accuracy": int8},
    }


def test_loss_above_the_limit_is_told():
    lost, warning = loss_of_int8(rows(0.66, 0.63), most=0.01)
    assert lost == 0.03
    assert warning == ("int8 loses 3.00% of val accuracy, more than quantize.max_loss of 1.00%")


def test_loss_within_the_limit_is_none():
    assert loss_of_int8(rows(0.66, 0.65), most=0.01) == (0.01, None)
    assert loss_of_int8(rows(0.66, 0.67), most=0.0) == (-0.01, None)
