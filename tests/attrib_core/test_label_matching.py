"""Other people's class names: each set of folders gives the right classes or one clear line."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from attrib_core.classifiers import Classifier, Identity, Labels, Preprocessing, imagenet
from attrib_core.datasets import Dataset, labels_for, load_dataset, match_labels, read_label_file
from attrib_core.datasets.arrays import ArrayImages, array_digests
from attrib_core.datasets.dataset import SelectedImages
from attrib_core.datasets.label_names import normalised
from attrib_core.datasets.probing import Probe, probe_dataset, spread_indices


class Reader(nn.Module):
    """A network that reads the class from the first pixel, `class / 255`."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> Tensor:
        classes = (images[:, 0, 0, 0] * 255).round().long()
        return nn.functional.one_hot(classes, self.num_classes).float()


def classifier_of(labels: Labels) -> Classifier:
    preprocessing = Preprocessing(mean=(0.0,), std=(1.0,), image_size=4)
    identity = Identity(name="net", digest="0" * 64, preprocessing=preprocessing, labels=labels)
    return Classifier(Reader(len(labels.class_names)), identity)


def dataset_of(class_names: tuple[str, ...], truth: list[int] | None = None, *, each: int = 2) -> Dataset:
    """Some images of each class; `truth` is what a `Reader` sees in those of each."""
    labels = np.repeat(np.arange(len(class_names)), each)
    pixels = np.zeros((len(labels), 4, 4), np.uint8)
    if truth is not None:
        pixels[:, 0, 0] = np.array(truth)[labels]
    return Dataset(
        name="toy",
        split="test",
        class_names=class_names,
        labels=labels,
        keys=tuple(f"{index:05d}" for index in range(len(labels))),
        image_digests=array_digests(pixels),
        source=ArrayImages(pixels),
    )


def table_of(class_names: tuple[str, ...], labels: Labels, **options: object) -> list[int]:
    return match_labels(dataset_of(class_names), classifier_of(labels), **options).table.tolist()  # type: ignore[arg-type]


def as_text(numbers: range) -> tuple[str, ...]:
    return tuple(sorted(map(str, numbers)))


IMAGENET = imagenet.labels(1000)
DOGS = Labels(class_names=("golden retriever", "T-shirt/top", "dachshund, wiener dog"))
TWELVE, TEN, THREE = Labels.numbered(12), Labels.numbered(10), Labels.numbered(3)
OWN_ORDER = Labels(class_names=as_text(range(12)))  # of a network that says how ImageFolder counted
EQUAL = Labels(class_names=("a b", "a_b", "c"))
HUNDRED = tuple(f"kind {letter}{number}" for letter in "ab" for number in range(50))

RIGHT = [
    # WordNet ids
    (("n01440764", "n01443537"), IMAGENET, [0, 1]),
    (("n02085620-Chihuahua", "n02099601-golden_retriever"), IMAGENET, [151, 207]),
    (("n02085620_Chihuahua", "n02099601"), IMAGENET, [151, 207]),
    # names of the classes
    (("goldfish", "tench"), IMAGENET, [1, 0]),
    (("golden_retriever", "tabby"), IMAGENET, [207, 281]),
    (("Golden-Retriever", "TABBY"), IMAGENET, [207, 281]),
    (("goldfish, Carassius auratus", "tench, Tinca tinca"), IMAGENET, [1, 0]),
    (("Carassius auratus", "Tinca_tinca"), IMAGENET, [1, 0]),
    (("goldfish,_Carassius_auratus", "tench"), IMAGENET, [1, 0]),
    (("crane bird", "crane"), IMAGENET, [134, 517]),  # one of them decides the other
    (("maillot", "maillot_tank_suit"), IMAGENET, [638, 639]),
    (("Cardigan", "cardigan"), IMAGENET, [264, 474]),
    (("potters_wheel", "tench"), IMAGENET, [739, 0]),
    (IMAGENET.class_names, IMAGENET, list(range(1000))),
    (tuple(reversed(IMAGENET.class_names)), IMAGENET, list(range(999, -1, -1))),
    (tuple(name.replace(" ", "_") for name in IMAGENET.class_names), IMAGENET, list(range(1000))),
    (("GoldenRetriever",), DOGS, [0]),
    (("t_shirt_top", "golden retriever"), DOGS, [1, 0]),
    (("wiener-dog", "golden_retriever"), DOGS, [2, 0]),
    (("T - shirt / top",), DOGS, [1]),  # as the Hub's Fashion-MNIST has it
    (("a_b", "a b"), EQUAL, [1, 0]),
    (
        ("cafe\u0301", "na\u00efve"),
        Labels(class_names=("nai\u0308ve", "caf\u00e9")),
        [1, 0],
    ),  # macOS writes two
    (("golden\u00a0retriever", "\uff34\uff0dshirt\u3000top"), DOGS, [0, 1]),  # no-break, and full width
    (("\ufeffgolden retriever", "wiener\u200bdog "), DOGS, [0, 2]),
    (as_text(range(12)), OWN_ORDER, list(range(12))),
    (("10", "2"), OWN_ORDER, [2, 4]),
    # class indexes
    (("129", "22", "243"), IMAGENET, [129, 22, 243]),
    (("022", "129"), IMAGENET, [22, 129]),
    (tuple(map(str, range(10))), TEN, list(range(10))),
    (tuple(f"{number:02d}" for number in range(12)), TWELVE, list(range(12))),
    (("1", "2"), THREE, [1, 2]),
    (tuple(map(str, range(5))), IMAGENET, [0, 1, 2, 3, 4]),
    # the order in which they stand
    (("cat", "dog", "emu"), THREE, [0, 1, 2]),
    (("emu", "cat", "dog"), THREE, [0, 1, 2]),
    (("1", "2", "3"), THREE, [0, 1, 2]),  # 3 is no index
    (("class_1", "class_2", "class_3"), THREE, [0, 1, 2]),
    (("n01", "n02", "n03"), THREE, [0, 1, 2]),
    (("other name", *HUNDRED[1:]), Labels(class_names=HUNDRED), list(range(100))),
]
WRONG = [
    (
        ("0_ant", "10_mole", "1_dog"),
        THREE,
        r"none of 3 class names, .* matches anything; accepted are class indexes",
    ),  # text order is not that of the numbers
    (
        ("0.0", "10.0", "2.0"),
        THREE,
        r"none of 3 class names, .* matches anything; accepted are class indexes",
    ),
    (("a1", "a10", "a2"), THREE, r"none of 3 class names, .* matches anything; accepted are class indexes"),
    (
        ("dog", "fish"),
        IMAGENET,
        r"none of 2 class names, 'dog', 'fish', matches anything; accepted are WordNet",
    ),
    (("tench", "fish"), IMAGENET, r"1 of 2 class names, 'fish', match nothing as names of the classes"),
    (("horn", "tench"), IMAGENET, r"'horn' is 513, 566"),
    (("crane", "tench"), IMAGENET, r"'crane' is 134, 517"),
    (("maillot", "tench"), IMAGENET, r"'maillot' is 638, 639"),
    (("cardigan", "tench"), IMAGENET, r"'cardigan' is 264, 474"),
    (("n01440764", "n99999999"), IMAGENET, r"1 of 2 class names, 'n99999999', match nothing as WordNet ids"),
    (("goldfish", "n01440764"), IMAGENET, r"match nothing as"),
    (("22", "tench"), IMAGENET, r"1 of 2 class names"),
    (("22", "1000"), IMAGENET, r"'1000', match nothing as class indexes from 0 to 999"),
    (("22", "022"), IMAGENET, r"'22', '022', mean the same class as others, as class indexes"),
    (("tench", "Tinca tinca"), IMAGENET, r"'tench', 'Tinca tinca', mean the same class"),
    (("A-B", "c"), EQUAL, r"can be more than one class: 'A-B' is 0, 1"),
    (("cat", "dog"), THREE, r"'cat', 'dog', matches anything; accepted are class indexes from 0 to 2, or 3"),
    (("cat", "dog", "emu", "fox"), THREE, r"toy has 4 classes, net only 3"),
    (("cat", "dog", "emu"), DOGS, r"none of 3 class names"),
    (("10", "2", "cat"), THREE, r"match nothing"),
    (as_text(range(1, 13)), TWELVE, r"'12', match nothing as class indexes from 0 to 11"),
    (tuple(sorted(f"class_{number}" for number in range(12))), TWELVE, r"none of 12 class names"),
    ((*reversed(HUNDRED), "new"), Labels(class_names=(*HUNDRED, "last")), r"'new', match nothing"),
    (("...", "tench"), IMAGENET, r"'...', match nothing"),
    (("1-5", "2"), Labels(class_names=("15", "2", "3")), r"'1-5', match nothing"),
]


@pytest.mark.parametrize(("class_names", "labels", "expected"), RIGHT)
def test_names_become_the_right_classes(
    class_names: tuple[str, ...], labels: Labels, expected: list[int]
) -> None:
    assert table_of(class_names, labels) == expected


@pytest.mark.parametrize(("class_names", "labels", "message"), WRONG)
def test_what_is_not_certain_is_one_line(class_names: tuple[str, ...], labels: Labels, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        table_of(class_names, labels)
    assert "\n" not in str(error.value)


class TestNumbers:
    def test_two_readings_are_a_question_with_the_accuracy_of_each(self) -> None:
        names = as_text(
            range(12)
        )  # 0, 1, 10, 11, 2, ...: a network trained by ImageFolder counts their places
        dataset, net = dataset_of(names, list(range(12)), each=4), classifier_of(TWELVE)
        expected = r"On 48 images --label-order index .*'10' is class 10\) has 17 % right"
        with pytest.raises(ValueError, match=expected) as error:
            labels_for(dataset, net)
        assert "--label-order sorted" in str(error.value)
        assert "'10' is class 2) has 100 % right; accepted are these two, or --labels FILE" in str(
            error.value
        )
        assert labels_for(dataset, net, order="sorted").tolist() == dataset.labels.tolist()
        assert labels_for(dataset, net, order="index")[2 * 4] == 10

    def test_labels_without_names_may_not_be_names(self) -> None:
        with pytest.raises(ValueError, match=r"--label-order names .*'2' is class 4.* --label-order index"):
            table_of(("0", "1", "2"), OWN_ORDER)
        assert table_of(("0", "1", "2"), OWN_ORDER, order="index") == [0, 1, 2]
        assert table_of(("0", "1", "2"), OWN_ORDER, order="names") == [0, 1, 4]

    @pytest.mark.parametrize(
        ("order", "names", "labels", "message"),
        [
            ("index", ("cat", "1", "2"), THREE, "'cat', match nothing as class indexes"),
            ("names", ("0", "1", "2"), THREE, "label_order='names': the classes of net have no names"),
            ("names", ("golden retriever", "1"), DOGS, "'1', match nothing as names of the classes"),
            ("alphabet", ("0",), THREE, "label_order='alphabet': accepted are names, index, sorted"),
        ],
    )
    def test_an_order_that_does_not_fit_is_refused(
        self, order: str, names: tuple[str, ...], labels: Labels, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            table_of(names, labels, order=order)

    def test_fewer_folders_may_be_told_to_stand_in_order(self) -> None:
        assert table_of(("cat", "dog"), THREE, order="sorted") == [0, 1]


@pytest.mark.parametrize(
    ("count", "more"), [(6, ", ..."), (4, ", 'n01491361' is class 3 'tiger shark'"), (3, "")]
)
def test_the_line_for_the_user_has_three_examples_or_all_of_few(count: int, more: str) -> None:
    net = classifier_of(IMAGENET)
    ids = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331")
    assert match_labels(dataset_of(ids[:count]), net).describe(net) == (
        "labels: WordNet ids: 'n01440764' is class 0 'tench', 'n01443537' is class 1 'goldfish', "
        f"'n01484850' is class 2 'great white shark'{more}"
    )


class TestFiles:
    @pytest.mark.parametrize(
        "text",
        [
            '{"cat": 2, "dog": 0}',
            '{"cat": "dachshund", "dog": "Golden_Retriever", "emu": 1}',
            "cat,2\ndog,0\n",
            "folder,class\ncat,2\ndog,0\n",
            "cat\t2\ndog\tgolden retriever\n",
            'dog,golden retriever\ncat,"dachshund, wiener dog"\n',
            "\ufeffcat;2\r\n\r\ndog;0\r\n",
            "filename,class\ncat,2\ndog,0\n",
            "path;label\ncat;2\ndog;0\n",
            "directory\tclass_index\ncat\t2\ndog\t0\n",
            '"name","index"\n"cat","2"\n"dog","golden retriever"\n',
            "\ufeffFolder, Class\ncat , 2\ndog , 0\n",
            "cat\u00a0,2\n\uff44og,0\n",
        ],
    )
    def test_json_and_csv_say_the_class_of_each_name(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "labels").write_text(text)
        dataset, net = dataset_of(("cat", "dog")), classifier_of(DOGS)
        mapping = read_label_file(tmp_path / "labels", dataset, net)
        assert match_labels(dataset, net, mapping=mapping).table.tolist() == [2, 0]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "holds no classes; accepted are JSON"),
            ("{", "is no JSON"),
            ("[1, 2]", "holds a list; accepted are JSON"),
            ('{"0": 2, "1": 0}', "lacks 2 of the 2 classes of toy, 'cat', 'dog'; it has '0', '1'"),
            ('{"cat": 0}', "lacks 1 of the 2 classes of toy, 'dog'; it has 'cat'"),
            ('{"cat": 0, "cat": 1, "dog": 2}', "'cat' stands in it twice"),
            ("cat,0\ncat,1\ndog,2", "'cat' stands in it twice"),
            ('{"cat": 0, "dog": 3}', "'dog' is 3; accepted are indexes from 0 to 2"),
            ('{"cat": 0, "dog": -1}', "'dog' is -1; accepted"),
            ('{"cat": 0, "dog": true}', "'dog' is True; accepted"),
            ('{"cat": 0, "dog": 1.0}', "'dog' is 1.0; accepted"),
            ('{"cat": 0, "dog": ["n01", "dog"]}', "'dog' is "),
            ('{"cat": 0, "dog": "poodle"}', "'dog' is 'poodle'; accepted .* 'golden retriever'"),
            ("cat,0\ndog", r"row 2 has 1 columns, \['dog'\]; accepted are JSON"),
            ("cat,0\ndog,1.5", "'dog' is '1.5'; accepted"),
            ("file,label\na/1.jpg,0\nb/2.jpg,1", r"'a/1\.jpg' is an image; accepted is one row a class"),
            ("ImageId,PredictionString\nILSVRC_1.JPEG,cat", r"'ILSVRC_1\.JPEG' is an image"),
            ("id,folder,class\n0,cat,2", r"row 1 has 3 columns"),
            ("cat|2\ndog|0", r"row 1 has 1 columns, \['cat\|2'\]"),
        ],
    )
    def test_a_mistake_is_one_line(self, text: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "labels").write_text(text)
        with pytest.raises(ValueError, match=message) as error:
            read_label_file(tmp_path / "labels", dataset_of(("cat", "dog")), classifier_of(DOGS))
        assert str(error.value).startswith(f"labels='{tmp_path}/labels': ")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "text", ['{"0": "dog", "1": "cat"}', "label,name\n0,dog\n1,cat\n"], ids=["JSON", "CSV"]
    )
    def test_numbers_are_no_places_of_names(self, text: str, tmp_path: Path) -> None:
        """As `id2label` of Hugging Face, which numbers the classifier's classes and not the folders."""
        (tmp_path / "labels").write_text(text)
        classifier = classifier_of(Labels(class_names=("dog", "cat")))
        with pytest.raises(ValueError, match="lacks 2 of the 2 classes of toy, 'cat', 'dog'"):
            read_label_file(tmp_path / "labels", dataset_of(("cat", "dog")), classifier)

    def test_a_class_without_images_need_not_be_in_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "labels.json").write_text('{"1": 0, "2": 1}')
        dataset, net = counted_from_one(2), classifier_of(Labels.numbered(2))
        mapping = read_label_file(tmp_path / "labels.json", dataset, net)
        assert labels_for(dataset, net, mapping=mapping).tolist() == [0, 0, 1, 1]

    @pytest.mark.parametrize("name", ["missing", "."])
    def test_what_is_no_file_is_one_line(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"cannot be read .*; accepted are JSON"):
            read_label_file(tmp_path / name, dataset_of(("cat", "dog")), classifier_of(DOGS))

    def test_a_class_may_be_called_as_headers_are(self, tmp_path: Path) -> None:
        (tmp_path / "labels.csv").write_text("image,wiener dog\nlabel,golden retriever\n")
        dataset, net = dataset_of(("image", "label")), classifier_of(DOGS)
        mapping = read_label_file(tmp_path / "labels.csv", dataset, net)
        assert match_labels(dataset, net, mapping=mapping).table.tolist() == [2, 0]

    def test_text_of_another_encoding_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "labels.csv").write_text("cat,2\ndog,0\n", encoding="utf-16")
        with pytest.raises(ValueError, match=r"cannot be read \(no UTF-8 text\); accepted are JSON"):
            read_label_file(tmp_path / "labels.csv", dataset_of(("cat", "dog")), classifier_of(DOGS))

    def test_several_folders_may_be_one_class(self, tmp_path: Path) -> None:
        (tmp_path / "labels.csv").write_text("a,0\nb,0\nc,1\nd,2\n")
        dataset, net = dataset_of(("a", "b", "c", "d")), classifier_of(THREE)
        mapping = read_label_file(tmp_path / "labels.csv", dataset, net)
        assert labels_for(dataset, net, mapping=mapping).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]

    def test_a_file_and_an_order_exclude_each_other(self) -> None:
        with pytest.raises(ValueError, match="--labels and --label-order: accepted is one of them"):
            table_of(("a",), THREE, order="index", mapping={"a": 0})


def counted_from_one(count: int) -> Dataset:
    """As integers from 1 in Parquet files, whose class 0 has no images."""
    dataset = dataset_of(tuple(map(str, range(count + 1))))
    return subset_of(dataset, dataset.labels > 0)


def subset_of(dataset: Dataset, rows: NDArray[np.bool_]) -> Dataset:
    """Return some images of a data set, whose classes stay as they are."""
    (places,) = np.nonzero(rows)
    return dataclasses.replace(
        dataset,
        labels=dataset.labels[places],
        keys=tuple(dataset.keys[place] for place in places),
        image_digests=dataset.image_digests[places],
        source=SelectedImages(dataset.source, places),
    )


def test_as_many_labels_as_classes_counted_from_1_are_refused_with_that_remark() -> None:
    with pytest.raises(
        ValueError,
        match=r"'3', match nothing as class indexes .* --labels FILE with the index of each, if they count",
    ):
        labels_for(counted_from_one(3), classifier_of(THREE))


@pytest.mark.parametrize("order", [None, "names"])
def test_a_class_without_images_need_not_match(order: str | None) -> None:
    """As a class that only the training split has, which a classifier of others does not know."""
    dataset = dataset_of(("goldfish", "no class of ImageNet", "tench"))
    present = subset_of(dataset, dataset.labels != 1)
    match = match_labels(present, classifier_of(IMAGENET), order=order)  # type: ignore[arg-type]
    assert match.labels(present).tolist() == [1, 1, 0, 0]
    assert match.describe(classifier_of(IMAGENET)) == (
        "labels: names of the classes: 'goldfish' is class 1 'goldfish', 'tench' is class 0 'tench'"
    )
    with pytest.raises(ValueError, match="'no class of ImageNet', match nothing"):
        match_labels(dataset, classifier_of(IMAGENET))
    with pytest.raises(ValueError, match="toy has 3 classes, net only 2"):
        match_labels(present, classifier_of(Labels.numbered(2)), order="sorted")


@pytest.mark.parametrize("wrong", [-1, 3])
def test_labels_without_a_class_are_named(wrong: int) -> None:
    dataset = dataset_of(("a", "b", "c"))
    dataset.labels[4] = wrong
    with pytest.raises(
        ValueError, match=rf"image 4 \('00004'\) has label {wrong}, accepted are 0 to 2"
    ) as error:
        labels_for(dataset, classifier_of(THREE))
    assert ("without a label" in str(error.value)) == (wrong == -1)


class TestProbe:
    def test_the_first_few_are_spread_over_the_set(self) -> None:
        indices = spread_indices(10_000)
        assert len(set(indices)) == 100
        assert {index // 2500 for index in indices[:8]} == {0, 1, 2, 3}
        assert sorted(spread_indices(7)) == list(range(7))

    def test_it_counts_what_is_right(self) -> None:
        dataset, net = dataset_of(("a", "b", "c"), [0, 1, 1], each=10), classifier_of(THREE)
        tried = probe_dataset(dataset, net)
        assert tried.num_right(dataset.labels) == 20
        assert tried.describe(dataset.labels) == "67 % right"

    @pytest.mark.parametrize(
        ("num_right", "count", "num_classes", "expected"),
        [
            (0, 100, 1000, True),
            (1, 100, 1000, False),
            (10, 100, 10, True),
            (14, 100, 10, True),
            (17, 100, 10, False),
            (91, 100, 10, False),
            (50, 100, 2, True),
            (70, 100, 2, False),
            (4, 4, 2, False),
            (8, 8, 1, False),
            (0, 5, 3, True),
        ],
    )
    def test_chance_allows_for_the_luck_of_a_few_images(
        self, num_right: int, count: int, num_classes: int, expected: bool
    ) -> None:
        predictions = np.array([0] * num_right + [1] * (count - num_right))
        tried = Probe(indices=np.arange(count), predictions=predictions)
        assert tried.is_no_better_than_chance(np.zeros(count, np.int64), num_classes) == expected

    def test_images_that_cannot_be_read_are_left_out(self, tmp_path: Path) -> None:
        from PIL import Image

        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / name / "1.png")
        file = tmp_path / "a" / "2.png"
        file.write_bytes((tmp_path / "a" / "1.png").read_bytes()[:50])  # the header alone
        dataset = load_dataset(f"imagefolder:{tmp_path}")
        tried = probe_dataset(dataset, classifier_of(Labels.numbered(2)))
        assert sorted(tried.indices.tolist()) == [0, 2]


# A data set whose truth is known: folders are classes under another spelling, and some are no class at all.
WORDS = st.text("abcdeABCDE éß", min_size=1, max_size=6).filter(lambda word: word.strip() == word)
SPELLINGS = st.sampled_from(
    [
        lambda name: name,
        str.upper,
        str.lower,
        lambda name: name.replace(" ", "_"),
        lambda name: name.replace(" ", "-"),
        lambda name: name.replace(" ", ""),
        lambda name: name.partition(",")[0],
        lambda name: name.rpartition(", ")[2],
    ]
)


@st.composite
def known_sets(draw: st.DrawFn) -> tuple[tuple[str, ...], tuple[str, ...], list[int | None]]:
    """Class names, folder names, and the true class of each folder; None for one that is no class."""
    entries = draw(st.lists(st.lists(WORDS, min_size=1, max_size=2), min_size=2, max_size=8))
    known = tuple(", ".join(words) for words in entries)
    chosen = draw(st.lists(st.integers(0, len(known) - 1), min_size=1, max_size=len(known), unique=True))
    folders = {draw(SPELLINGS)(known[index]): index for index in chosen}
    strangers = draw(st.lists(st.text("xyz", min_size=1, max_size=3), max_size=2))
    names = tuple(sorted({*folders, *strangers} - {""}))
    return known, names, [folders.get(name) for name in names]


@settings(max_examples=400, deadline=None)
@given(known_sets())
def test_names_are_never_matched_wrongly(
    case: tuple[tuple[str, ...], tuple[str, ...], list[int | None]],
) -> None:
    known, names, truth = case
    try:
        found = table_of(names, Labels(class_names=known))
    except ValueError:
        return
    for name, index, true in zip(names, found, truth, strict=True):
        # A folder may be spelled as another class is: then that class has it by right.
        own = {row for row, each in enumerate(known) if normalised(name) in _own(each)}
        assert index == true or own == {index} or (known[index] == name and known.count(name) == 1)


def _own(name: str) -> set[str]:
    return {normalised(name), normalised(name.partition(",")[0])}


@settings(max_examples=300, deadline=None)
@given(
    num_classes=st.integers(1, 30),
    numbers=st.lists(st.integers(0, 35), min_size=1, max_size=30, unique=True),
    counts=st.booleans(),
)
def test_numbers_are_never_matched_wrongly(num_classes: int, numbers: list[int], counts: bool) -> None:
    """Folders are class indexes, or the places of a network that ImageFolder trained: never mistaken."""
    names = as_text(range(num_classes)) if counts else tuple(sorted(map(str, numbers)))
    by_index, by_place = [int(name) for name in names], list(range(len(names)))
    could_be_places = len(names) == num_classes
    try:
        found = table_of(names, Labels.numbered(num_classes))
    except ValueError:
        return
    assert found in (by_index, by_place)
    if could_be_places and max(by_index) < num_classes:
        assert by_index == by_place
    if not could_be_places:
        assert found == by_index


def test_loading_the_names_draws_no_random_numbers() -> None:
    state = torch.get_rng_state()
    table_of(("goldfish", "tench"), IMAGENET)
    assert torch.equal(state, torch.get_rng_state())
