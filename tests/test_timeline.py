from fer.video.timeline import summary


def test_summary_weighs_by_time():
    frames = [(0.0, {0: "Happy", 1: "Sad"}), (3.0, {0: "Sad"}), (3.5, {0: "unsure"})]
    assert summary("v.mp4", frames, 4.0) == [
        "v.mp4: 4.00 s, faces: 2",
        "face 0, 4.00 s, share of time: Happy 75%, Sad 12%, unsure 12%",
        "face 1, 3.00 s, share of time: Sad 100%",
    ]


def test_summary_of_many_faces_keeps_the_longest():
    frames = [(frame / 10, {n: "Happy" for n in range(20) if n >= frame}) for frame in range(20)]
    lines = summary("v.mp4", frames, 2.0)
    assert [line.split(",")[0] for line in lines[1:-1]] == [f"face {n}" for n in range(8, 20)]
    assert lines[-1] == "more faces: 8"
