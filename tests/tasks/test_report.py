"""What a report reads from MLflow, and the folder name of one that compares experiments."""

from pathlib import Path

from tasks.report import comparison_folder, resource_use


def test_a_few_names_are_joined() -> None:
    assert comparison_folder(["demo-1", "demo-2"]) == "demo-1-demo-2"


def test_many_or_long_names_are_shortened_and_stay_distinct(tmp_path: Path) -> None:
    many = [f"ppo-1-1-seed{seed}-1125-1403-9f2c" for seed in range(40)]
    longest = ["x" * 100, "y" * 100]
    names = {comparison_folder(each) for each in (many, many[:39], many[::-1], longest)}

    assert len(names) == 4
    for name in names:
        (tmp_path / name).mkdir()
    assert comparison_folder(many).startswith("ppo-1-1-seed0-1125-1403-9f2c-and-39-more-")
    assert comparison_folder(many) == comparison_folder(list(many))


def test_a_sample_stands_for_the_time_since_the_one_before() -> None:
    use = resource_use("CPU", "%", [(1000.0, 1.0), (1010.0, 2.0), (1070.0, 3.0), (9000.0, 4.0)])
    assert use.values == (1.0, 2.0, 3.0, 4.0)
    assert use.seconds == [10.0, 10.0, 60.0, 60.0], "the run was interrupted before the last one"
