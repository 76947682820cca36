"""Images that cannot be used: the others of their shard are done, and once repaired they are computed alone."""

import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attrib_core.datasets import UnreadableImagesError, load_dataset
from sweeps import activations_all, attack_all, attribute_all, modify_all
from sweeps.cli import SweepOptions, parse_options
from sweeps.images.data import SweepData
from sweeps.plan import Shard
from sweeps.record import plan_of
from sweeps.runner import record, run_sweep
from sweeps.schemas import IDENTITY
from sweeps.store import RunDirectory
from sweeps.store.__main__ import main as store
from sweeps.store.image_failures import ImageFailure, is_planned, next_shard_id
from sweeps.store.verification import verify
from sweeps.sweep import Sweep
from sweeps.work import Work

FILES_AND_SHARDS = ("shard_id", "image_file", "perturbation_file", "clean_file")
NUM_IMAGES = 10
BROKEN = 3


class Script(NamedTuple):
    main: Callable[[list[str]], int]
    options: type[SweepOptions]
    sweep: Callable[[Any], Sweep]
    given: tuple[str, ...]


SCRIPTS = {
    "activations": Script(
        activations_all.main,
        activations_all.ActivationOptions,
        activations_all.activations_sweep,
        ("--units", "conv1:0-1", "--top", "4"),
    ),
    "attack": Script(
        attack_all.main, attack_all.AttackOptions, attack_all.attack_sweep, ("--epsilons", "0,0.1")
    ),
    "attribute": Script(
        attribute_all.main,
        attribute_all.AttributeOptions,
        attribute_all.attribute_sweep,
        ("--methods", "gradient"),
    ),
    "modify": Script(
        modify_all.main,
        modify_all.ModifyOptions,
        modify_all.modify_sweep,
        ("--targets", "0", "--num-steps", "1", "--images", "all"),
    ),
}


def png(index: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(index).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten images of two classes, of which the fourth lacks its end."""
    for index in range(NUM_IMAGES):
        place(tmp_path / "photos", index).write_bytes(png(index))
    break_off(tmp_path / "photos", BROKEN)
    return tmp_path / "photos"


def place(folder: Path, index: int) -> Path:
    file = folder / str(2 * index // NUM_IMAGES) / f"{index}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def break_off(folder: Path, index: int, num_bytes: int = 200) -> None:
    place(folder, index).write_bytes(png(index)[:-num_bytes])


def repair(folder: Path, index: int) -> None:
    place(folder, index).write_bytes(png(index))


@pytest.fixture
def sweep_of(tmp_path: Path, photos: Path) -> Callable[..., tuple[Sweep, SweepOptions]]:
    """A sweep over the photographs, with shards of four."""

    def make(name: str, *more: str) -> tuple[Sweep, SweepOptions]:
        script = SCRIPTS[name]
        given = ["--dataset", f"imagefolder:{photos}", "--output", str(tmp_path / "run"), "--shard-size", "4"]
        options = parse_options(script.options, [*given, *script.given, *more])
        return script.sweep(options), options

    return make


@pytest.fixture
def work_through(sweep_of) -> Callable[..., tuple[list[Shard], Work]]:
    """Do what a command would do, in this process: the shards that it computed, and what is left."""

    def do(name: str, *more: str) -> tuple[list[Shard], Work]:
        sweep, options = sweep_of(name, *more)
        run = RunDirectory(options.output)
        plan = plan_of(record(run, sweep, 4), sweep.kinds)
        sweep.data.record(run)
        work, job, done = Work(plan, sweep, run), sweep.factory(sweep.shared), []
        for shard in work.shards:
            summary = job.commit(job.compute(shard), 1)
            work.failures.add(summary["failed_images"])
            done.append(shard)
        return done, work

    return do


def rows(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "results").sort_values("image_index", kind="stable")


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_other_images_are_done_and_a_repaired_one_is_computed_alone(
    name, work_through, photos, tmp_path, capsys
) -> None:
    run = tmp_path / "run"
    done, work = work_through(name)
    assert [len(shard.cells) for shard in done] == [4, 4, 2]
    assert list(work.failures.by_index) == [BROKEN]
    before = rows(run)
    assert sorted(set(before["image_index"])) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    [listed] = [json.loads(path.read_text()) for path in (run / "failures").iterdir()]
    assert [(each["image_index"], each["key"]) for each in listed] == [(BROKEN, f"0/{BROKEN}.png")]
    assert "truncated" in listed[0]["reason"]

    again, work = work_through(name)
    assert again == [], "the image is still broken"
    assert list(work.failures.by_index) == [BROKEN]

    repair(photos, BROKEN)
    [shard], work = work_through(name)
    assert (shard.indices(), work.failures.by_index) == ((BROKEN,), {})
    after = rows(run)
    assert sorted(set(after["image_index"])) == list(range(NUM_IMAGES))
    pd.testing.assert_frame_equal(
        after[after["image_index"] != BROKEN].reset_index(drop=True), before.reset_index(drop=True)
    )
    assert work_through(name)[0] == []
    found = verify(RunDirectory(run))
    assert (found.problems, found.unusable_images, found.num_committed) == ([], [], 4)


def test_rows_are_those_of_a_run_without_a_broken_image(work_through, photos, tmp_path) -> None:
    work_through("attack")
    repair(photos, BROKEN)
    work_through("attack")
    mended = rows(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "mended")
    work_through("attack")
    columns = [name for name in mended if name not in FILES_AND_SHARDS]
    order = list(IDENTITY["attack"])
    pd.testing.assert_frame_equal(
        *(
            frame.sort_values(order)[columns].reset_index(drop=True)
            for frame in (mended, rows(tmp_path / "run"))
        )
    )


def test_images_are_repaired_one_after_the_other(work_through, photos, tmp_path) -> None:
    break_off(photos, 1)
    work_through("attack")
    repair(photos, 1)
    [first], work = work_through("attack")
    assert (first.indices(), list(work.failures.by_index)) == ((1, BROKEN), [BROKEN])
    assert work_through("attack")[0] == []
    repair(photos, BROKEN)
    [second], work = work_through("attack")
    assert (second.indices(), list(work.failures.by_index)) == ((BROKEN,), [])
    assert sorted(set(rows(tmp_path / "run")["image_index"])) == list(range(NUM_IMAGES))
    assert not verify(RunDirectory(tmp_path / "run")).problems


def test_a_shard_may_have_no_image_that_can_be_used(work_through, photos, tmp_path) -> None:
    for index in range(4):
        break_off(photos, index)
    for name in SCRIPTS:
        done, work = work_through(name, "--output", str(tmp_path / name))
        assert list(work.failures.by_index) == [0, 1, 2, 3]
        assert len(done) == 3
        found = verify(RunDirectory(tmp_path / name))
        assert (found.problems, found.num_committed) == ([], 3)


def test_an_image_that_is_left_out_is_not_tried_and_not_missed(work_through, photos) -> None:
    work_through("attack")
    repair(photos, BROKEN)
    done, work = work_through("attack", "--images", "0-2,4-9")
    assert (done, work.failures.by_index) == ([], {})
    [shard], _ = work_through("attack")
    assert shard.indices() == (BROKEN,)


def test_growth_tries_the_broken_image_once_more_under_what_is_new(work_through, photos) -> None:
    work_through("attack")
    done, work = work_through("attack", "--methods", "fgsm,max_norm")
    assert [shard.value("method", str) for shard in done] == ["max_norm"] * 3
    assert list(work.failures.by_index) == [BROKEN]
    repair(photos, BROKEN)
    done, _ = work_through("attack", "--methods", "fgsm,max_norm")
    assert sorted((shard.value("method", str), shard.indices()) for shard in done) == [
        ("fgsm", (BROKEN,)),
        ("max_norm", (BROKEN,)),
    ]


class TestWhatIsKnownBeforeWorkStarts:
    def test_a_file_that_is_no_image_at_all_is_a_failure_too(self, work_through, photos) -> None:
        place(photos, BROKEN).write_text("not an image")
        place(photos, 5).unlink()
        place(photos, 5).symlink_to("nowhere")
        _, work = work_through("attack")
        assert {index: each.reason.split(":")[0][:8] for index, each in work.failures.by_index.items()} == {
            BROKEN: "no image",
            5: "cannot b",
        }
        assert work_through("attack")[0] == []
        place(photos, 5).unlink()
        repair(photos, 5)
        [shard], _ = work_through("attack")
        assert 5 in shard.indices()

    def test_a_set_of_which_most_cannot_be_used_is_refused(self, sweep_of, photos) -> None:
        for index in range(6):
            place(photos, index).write_text("not an image")
        with pytest.raises(ValueError, match=r"6 of 10 images cannot be used, .* image '0/0\.png': no image"):
            sweep_of("attack")

    def test_the_first_images_may_all_be_broken(self, work_through, photos) -> None:
        for index in range(4):
            place(photos, index).write_text("not an image")
        assert list(work_through("attack")[1].failures.by_index) == [0, 1, 2, 3]

    def test_the_step_that_is_tried_before_a_sweep_is_of_an_image_that_can_be_read(
        self, sweep_of, photos
    ) -> None:
        break_off(photos, 0)
        sweep, _ = sweep_of("modify")
        assert sweep.check is not None
        sweep.check()

    def test_trainings_and_the_library_take_no_such_images(self, photos) -> None:
        place(photos, BROKEN).write_text("not an image")
        with pytest.raises(ValueError, match=r"image '0/3\.png': no image"):
            load_dataset(f"imagefolder:{photos}")


class TestTheDataOfADirectory:
    def test_an_image_with_rows_must_stay_as_it_was(self, work_through, sweep_of, photos) -> None:
        work_through("attack")
        place(photos, 5).write_bytes(png(55))
        with pytest.raises(ValueError, match=r"image '1/5\.png' has changed since rows in .* were comput"):
            sweep_of("attack")
        repair(photos, 5)
        sweep_of("attack")

    def test_so_must_a_repaired_one(self, work_through, sweep_of, photos) -> None:
        work_through("attack")
        repair(photos, BROKEN)
        work_through("attack")
        break_off(photos, BROKEN)
        with pytest.raises(ValueError, match=r"image '0/3\.png' has changed"):
            sweep_of("attack")

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"0/3.png": None}, "has lost image '0/3.png', so numbers of images"),
            ({"0/3.png": "0/33.png"}, "has lost image '0/3.png' and gained image '0/33.png', so"),
            (
                {f"0/{row}.png": None for row in range(4)},
                "lost image '0/0.png', '0/1.png', '0/2.png' and 1 more, so",
            ),
            ({"1/5.png": "0/5.png"}, "has lost image '1/5.png' and gained image '0/5.png', so"),
        ],
    )
    def test_images_that_are_gone_or_new_are_named(
        self, changes: dict[str, str | None], said: str, work_through, sweep_of, photos
    ) -> None:
        work_through("attack")
        for key, target in changes.items():
            (photos / key).rename(photos.parent / "aside" if target is None else photos / target)
        with pytest.raises(ValueError, match=re.escape(said)) as refused:
            sweep_of("attack")
        assert "put what is missing back" in str(refused.value)
        assert str(refused.value).endswith("or choose another --output")

    def test_a_deleted_image_that_is_put_back_goes_on(self, work_through, sweep_of, photos) -> None:
        work_through("attack")
        place(photos, BROKEN).unlink()
        with pytest.raises(ValueError, match=r"lost image '0/3\.png'"):
            sweep_of("attack")
        repair(photos, BROKEN)
        [shard], _ = work_through("attack")
        assert shard.indices() == (BROKEN,)

    def test_a_directory_of_an_earlier_version_knows_numbers_alone(
        self, work_through, sweep_of, photos, tmp_path
    ) -> None:
        work_through("attack")
        file = tmp_path / "run" / "image_digests.parquet"
        pq.write_table(pq.read_table(file).drop_columns(["key"]), file)
        place(photos, 5).unlink()
        with pytest.raises(ValueError, match=r"has lost image 5, so"):
            sweep_of("attack")

    def test_images_that_no_command_asked_for_may_change(self, work_through, photos) -> None:
        work_through("attack", "--images", "0-2")
        repair(photos, BROKEN)
        place(photos, 8).write_bytes(png(88))
        assert len(work_through("attack")[0]) == 2

    def test_a_directory_of_an_earlier_version_gains_the_digests_if_its_data_are_the_same(
        self, work_through, sweep_of, photos, tmp_path
    ) -> None:
        work_through("attack", "--images", "0-2")
        (tmp_path / "run" / "image_digests.parquet").unlink()
        work_through("attack")
        assert (tmp_path / "run" / "image_digests.parquet").exists()
        repair(photos, BROKEN)
        [shard], _ = work_through("attack")
        assert shard.indices() == (BROKEN,)

    def test_one_with_other_data_is_refused(self, work_through, sweep_of, photos, tmp_path) -> None:
        work_through("attack")
        (tmp_path / "run" / "image_digests.parquet").unlink()
        repair(photos, BROKEN)
        sweep, options = sweep_of("attack")
        with pytest.raises(ValueError, match="data_digest: the directory was made with"):
            run_sweep(sweep, options)

    def test_damaged_digests_are_named(self, work_through, sweep_of, tmp_path) -> None:
        work_through("attack")
        (tmp_path / "run" / "image_digests.parquet").write_bytes(b"no Parquet")
        with pytest.raises(ValueError, match=r"image_digests\.parquet is damaged"):
            sweep_of("attack")

    def test_settings_are_as_they_were(self, sweep_of, photos) -> None:
        sweep, _ = sweep_of("attack")
        assert sweep.settings["data_digest"] == load_dataset(f"imagefolder:{photos}").digest
        assert "exif_orientation" not in sweep.settings


def test_an_interruption_counts_what_is_on_the_disk(work_through, photos, tmp_path) -> None:
    """Not what the driver has heard of, and not only what it has passed over so far."""
    _, work = work_through("attack")
    assert (work.progress.done, work.progress.total) == (0, 3), "the loop above tells it nothing"
    work.count_again()
    assert work.progress.done == 3
    assert json.loads((tmp_path / "run" / "progress.json").read_text())["committed_shards"] == 3
    repair(photos, BROKEN)
    next((tmp_path / "run" / "results").iterdir()).unlink()
    work.count_again()
    assert work.progress.done == 3, "never less than what was said before"


class TestStore:
    FAILURE = ImageFailure(image_index=4, key="4.png", reason="damaged", sha256="0" * 64)

    def test_failures_are_committed_with_the_rows(self, run: RunDirectory, make_rows) -> None:
        assert run.commit("plain-0-aaa", make_rows("plain-0-aaa", [0]), None, [self.FAILURE])
        assert run.failed_images() == {"plain-0-aaa": (self.FAILURE,)}
        assert run.failures() == {}
        run.clear_failed_images()
        assert run.failed_images() == {}

    def test_those_of_an_attempt_that_lost_do_not_count(self, run: RunDirectory, make_rows) -> None:
        assert run.commit("plain-0-aaa", make_rows("plain-0-aaa", [0, 4]), None)
        assert not run.commit("plain-0-aaa", make_rows("plain-0-aaa", [0]), None, [self.FAILURE])
        assert run.failed_images() == {}

    def test_those_of_an_attempt_that_died_do_not_count(
        self, run: RunDirectory, make_rows, monkeypatch
    ) -> None:
        monkeypatch.setattr(type(run.files), "put_if_absent", lambda *_: pytest.fail("it died before"))
        with pytest.raises(pytest.fail.Exception):
            run.commit("plain-0-aaa", make_rows("plain-0-aaa", [0]), None, [self.FAILURE])
        assert run.failed_images() == {}

    def test_the_shard_after_another_has_an_id_of_its_own(self) -> None:
        first = next_shard_id("fgsm-trained-image0_3-0123456789ab")
        second = next_shard_id(first)
        assert first.startswith("fgsm-trained-image0_3-again-")
        assert second.startswith("fgsm-trained-image0_3-again-")
        assert first != second
        assert [is_planned(each) for each in ("fgsm-image0_3-0123456789ab", first, second)] == [
            True,
            False,
            False,
        ]


def test_status_and_verify_count_the_images(work_through, tmp_path, capsys) -> None:
    work_through("attack")
    run = str(tmp_path / "run")
    assert store(["status", run]) == 0
    assert "unusable    1 images\n  0/3.png: damaged or not readable" in capsys.readouterr().out
    assert store(["verify", run]) == 0
    assert (
        "1 images could not be used (repair them; the sweep's command computes them)"
        in capsys.readouterr().out
    )


def test_a_job_may_find_images_that_it_cannot_work_on(
    work_through, sweep_of, photos, monkeypatch, tmp_path
) -> None:
    """As an attack does where the gradient is no number."""
    attack = attack_all.AttackJob._attack

    def refuse(self: Any, model: Any, victims: Any, axes: Any, indices: Sequence[int], **options: Any) -> Any:
        if bad := {index: "its gradient is no number" for index in indices if index in (0, 8)}:
            raise UnreadableImagesError(bad)
        return attack(self, model, victims, axes, indices, **options)

    monkeypatch.setattr(attack_all.AttackJob, "_attack", refuse)
    _, work = work_through("attack")
    found = {index: (each.reason, each.readable) for index, each in work.failures.by_index.items()}
    assert found[0] == found[8] == ("its gradient is no number", True)
    assert not found[BROKEN][1]
    assert sorted(set(rows(tmp_path / "run")["image_index"])) == [1, 2, 4, 5, 6, 7, 9]
    assert work_through("attack")[0] == [], "their bytes are the same"


def test_the_orientation_is_a_setting_only_where_images_are_turned(tmp_path) -> None:
    data = {"image": [png(0), png(1)], "label": [0, 1]}
    pd.DataFrame(data).to_parquet(tmp_path / "upright.parquet")
    exif, file = Image.Exif(), io.BytesIO()
    exif[274] = 6
    Image.open(io.BytesIO(png(1))).save(file, "PNG", exif=exif)
    pd.DataFrame(data | {"image": [png(0), file.getvalue()]}).to_parquet(tmp_path / "turned.parquet")
    settings = {
        name: SweepData(load_dataset(f"parquet:{tmp_path}/{name}.parquet")).settings(
            RunDirectory(tmp_path / "run"), "attack", attack_all.KINDS
        )
        for name in ("upright", "turned")
    }
    assert settings["turned"].pop("exif_orientation") == "applied"
    assert settings["turned"].keys() == settings["upright"].keys()


def test_failed_images_are_in_the_metadata_of_the_results_file(work_through, tmp_path) -> None:
    work_through("attack")
    metadata = [pq.read_metadata(path).metadata for path in (tmp_path / "run" / "results").iterdir()]
    assert sum(b"attrib_sweeps.failed_images" in each for each in metadata) == 1


@pytest.mark.usefixtures("in_this_process")
def test_a_command_says_what_could_not_be_used_and_the_same_command_repairs_it(
    photos, tmp_path, capsys
) -> None:
    run = tmp_path / "run"
    given = ["--dataset", f"imagefolder:{photos}", "--output", str(run), "--shard-size", "4"]
    command = [*given, "--epsilons", "0,0.1", "--num-workers", "2"]
    for _ in range(2):  # the second time nothing is computed
        assert attack_all.main(command) == 1
        said = capsys.readouterr().err
        assert "1 image could not be used:\n  0/3.png: damaged or not readable" in said
        assert "Repair these images and type the same command, which then computes them alone." in said
        assert "runs again" not in said
        assert not (run / "_SUCCESS").exists()
    before = {path.name: path.read_bytes() for path in (run / "results").iterdir()}
    assert len(before) == 3
    repair(photos, BROKEN)
    assert attack_all.main(command) == 0
    after = {path.name: path.read_bytes() for path in (run / "results").iterdir()}
    assert before.items() < after.items()
    assert len(after) == 4
    assert (run / "_SUCCESS").exists()
    assert list((run / "failures").iterdir()) == []
    assert attack_all.main([*command, "--methods", "fgsm,max_norm"]) == 0
    assert store(["verify", str(run)]) == 0
