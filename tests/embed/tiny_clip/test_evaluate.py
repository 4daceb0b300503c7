import json

from embed.tiny_clip.evaluate import held_out_pictures, zero_shot_accuracy
from embed.tiny_clip.package import SHIPPED

# Below what the shipped weights reach (.998, .984, .934, .994), above what the sample needs.
FLOORS = {"palette": 0.97, "subject": 0.93, "treatment": 0.89, "composition": 0.95}


def test_shipped_weights_tell_held_out_pictures_apart() -> None:
    accuracies = zero_shot_accuracy(copies=1, size=96)
    assert {f: a for f, a in accuracies.items() if a < FLOORS[f]} == {}, accuracies


def test_the_log_beside_the_weights_says_what_they_reach() -> None:
    log = json.loads((SHIPPED / "training_log.json").read_text())
    final = log["zero_shot_top1_by_picture_size"]["160"]
    assert {f: a for f, a in final.items() if a < FLOORS[f]} == {}
    assert log["curve"][-1]["step"] == log["num_steps"]


def test_held_out_pictures_are_the_same_each_time() -> None:
    (first, values), (again, _) = (held_out_pictures(1, 32) for _ in range(2))
    assert len(first) == len(values) == 384
    assert [p.tobytes() for p in first] == [p.tobytes() for p in again]
