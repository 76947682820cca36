from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import load

MakeRun = Callable[..., Path]


def test_results_hold_every_committed_row_once_whatever_wrote_first(make_run: MakeRun) -> None:
    frame = load.results(make_run(num_classes=3, seeds=(0, 1), recipes=("plain", "default")))
    cells = frame[["recipe", "class_index", "seed"]]
    assert len(cells) == len(cells.drop_duplicates()) == 12
    assert frame["shard_id"].is_monotonic_increasing


def test_results_equal_what_pandas_reads_from_the_folder(make_run: MakeRun) -> None:
    run = make_run()
    expected = pd.read_parquet(run / "results")
    frame = load.results(run)[expected.columns]
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False, check_categorical=False)


def test_each_judge_has_columns_of_its_own_beside_the_struct(make_run: MakeRun) -> None:
    frame = load.results(make_run(wrong=lambda judge, class_index, seed: judge == "lite2"))
    assert frame["judge_top1"].iloc[0] == {"lite1": 0, "lite2": 1}
    assert (frame["judge_top1.lite1"] == frame["class_index"]).all()
    assert not frame["judge_top5_hit.lite2"].any()


def test_repeated_text_is_categorical_with_sorted_categories(make_run: MakeRun) -> None:
    recipe = load.results(make_run(recipes=("plain", "blur")))["recipe"]
    assert recipe.dtype == "category"
    assert list(recipe.cat.categories) == ["blur", "plain"]


def test_columns_come_alone_and_in_the_order_asked_for(make_run: MakeRun) -> None:
    columns = ["judge_top1.lite2", "seed", "recipe"]
    assert list(load.results(make_run(), columns)) == columns


def test_column_names_lists_what_results_gives(make_run: MakeRun) -> None:
    run = make_run()
    assert load.column_names(run) == list(load.results(run))


def test_a_judge_may_have_a_dot_in_its_name(make_run: MakeRun) -> None:
    run = make_run(judges=("resnet50.a1_in1k",))
    assert list(load.results(run, ["judge_top1.resnet50.a1_in1k"])) == ["judge_top1.resnet50.a1_in1k"]


def test_a_run_without_judges_has_no_columns_for_them(make_run: MakeRun) -> None:
    assert not [column for column in load.results(make_run(judges=())) if column.startswith("judge")]


def test_sweep_gives_the_configuration(make_run: MakeRun) -> None:
    assert load.sweep(make_run())["sweep"] == "generate"


@pytest.mark.parametrize("column", ["epsilon", "judge_top1.lite9", ""])
def test_an_unknown_column_is_named_with_the_known_ones(make_run: MakeRun, column: str) -> None:
    with pytest.raises(ValueError, match=rf"column '{column}'.*class_index.*judge_top1\.lite1"):
        load.results(make_run(), ["seed", column])


def test_a_folder_without_a_sweep_is_no_run_directory_and_stays_as_it_is(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ValueError, match="not a run directory"):
            load.results(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_results_is_called_empty(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="is empty"):
        load.results(make_run(num_classes=0))


def test_an_unknown_schema_version_is_refused(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match=r"schema_version of results file 'shard-000000\.parquet' is 99"):
        load.results(make_run(schema_version=99), ["seed"])


def test_a_broken_results_file_is_named(make_run: MakeRun) -> None:
    run = make_run()
    (run / "results" / "shard-000004.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match="shard-000004"):
        load.results(run)


def test_images_come_in_the_order_of_their_keys(make_run: MakeRun) -> None:
    run = make_run()
    keys = ["default/2/1", "plain/0/0", "default/2/1", "plain/1/1"]
    first, second, third, _ = load.images(run, keys)
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, third)
    assert not np.array_equal(first, second)


def test_an_image_is_the_one_that_its_key_names(make_run: MakeRun) -> None:
    run = make_run(num_classes=7, shard_size=5)
    keys = [f"plain/{index}/0" for index in range(7)]
    together, alone = load.images(run, keys), [load.images(run, [key])[0] for key in keys]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
    assert len({image.tobytes() for image in together}) == 7


def test_greyscale_images_keep_one_channel(make_run: MakeRun) -> None:
    assert load.images(make_run(channels=1), ["plain/0/0"])[0].shape == (32, 32, 1)


def test_images_are_found_in_every_row_group(make_run: MakeRun) -> None:
    run = make_run(shard_size=12)
    keys = list(load.results(run)["image_key"])
    expected = load.images(run, keys)
    (file,) = (run / "images").iterdir()
    pq.write_table(pq.read_table(file), file, row_group_size=5)
    assert all(np.array_equal(a, b) for a, b in zip(load.images(run, keys), expected, strict=True))


def test_a_row_group_without_a_key_is_not_read(make_run: MakeRun) -> None:
    run = make_run(shard_size=12)
    (file,) = (run / "images").iterdir()
    table = pq.read_table(file)
    broken = pa.chunked_array(
        [pa.array([{"bytes": b"no PNG", "path": None}], table.schema.field("image").type)]
    )
    pq.write_table(table, file, row_group_size=6)
    with pq.ParquetWriter(file, table.schema) as writer:
        writer.write_table(table.slice(0, 6))
        writer.write_table(table.slice(6, 1).set_column(1, table.schema.field("image"), broken))
    assert len(load.images(run, table["key"].to_pylist()[:6])) == 6
    with pytest.raises(ValueError, match=table["key"][6].as_py()):
        load.images(run, table["key"].to_pylist()[6:7])


def test_only_the_image_files_that_hold_a_key_are_read(make_run: MakeRun) -> None:
    run = make_run(shard_size=4)
    rows = load.results(run)
    for file in (run / "images").iterdir():
        if file.name != rows["image_file"][0]:
            file.unlink()
    assert len(load.images(run, list(rows["image_key"][:4]))) == 4


def test_rows_spare_the_search_through_all_results(make_run: MakeRun) -> None:
    run = make_run()
    rows = load.results(run)
    for file in (run / "results").iterdir():
        file.unlink()
    assert len(load.images(run, ["plain/0/0"], rows=rows)) == 1


def test_a_missing_key_is_named(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="image key 'plain/99/0' is not in"):
        load.images(make_run(), ["plain/0/0", "plain/99/0"])


def test_an_image_file_that_vanished_is_named(make_run: MakeRun) -> None:
    run = make_run()
    name = load.results(run)["image_file"][0]
    (run / "images" / name).unlink()
    with pytest.raises(ValueError, match=name):
        load.images(run, ["plain/0/0"])


def test_a_row_without_an_image_has_no_key_to_ask_for(make_run: MakeRun) -> None:
    assert load.images(make_run(), []) == []
