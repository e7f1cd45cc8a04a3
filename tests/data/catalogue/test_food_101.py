"""UPMC Food-101 as published: a small copy of pictures and titles, and what is broken in it."""

import shutil

import pytest
import torch
from av_sets import bad_rows, corrupt, documented, empty, reasons
from media import jpeg

import counterpoise as cp
from counterpoise import InputError
from counterpoise.cli.main import main
from counterpoise.core.storage import read_weights
from counterpoise.data import DATASETS
from counterpoise.data.catalogue.food_101 import food_101
from counterpoise.data.readers import Text

# Small copies of a data set have few different files.
pytestmark = pytest.mark.filterwarnings("ignore:the same")

CLASSES = ("apple_pie", "baklava", "pho")
TITLES = (
    'Grandma\'s "best" {}, ever | food blog',
    "how to make {} at home",
    "{}",
    "12 ways, all simple, to serve {}\nwith tea",
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    raw = tmp_path_factory.mktemp("food-101")
    (raw / "texts").mkdir()
    for part, numbers in (("train", range(8)), ("test", range(8, 10))):
        lines = []
        for label in CLASSES:
            for k in numbers:
                file = f"{label}_{k}.jpg"
                jpeg(raw / "images" / part / label / file)
                title = TITLES[k % len(TITLES)].format(label).replace('"', '""')
                lines.append(f'{file},"{title}",{label}')
        if part == "train":
            corrupt(raw / "images/train/pho/pho_20.jpg")
            empty(raw / "images/train/pho/pho_21.jpg")
            lines += [f"pho_{k}.jpg,soup,pho" for k in (20, 21, 22)]  # the last has no file
            lines += ["pho_7.jpg,soup again,pho", "cake_1.jpg,a cake,cake", "pho_23.jpg,no class"]
            jpeg(raw / "images/train/baklava/baklava_24.jpg")
            lines += ["", "baklava_24.jpg,,baklava", "baklava_25.jpg,soup, no quotes,baklava"]
        (raw / "texts" / f"{part}_titles.csv").write_text("\r\n".join(lines) + "\r\n")
    return raw


def test_table(raw):
    table = food_101(raw)
    assert tuple(table.readers) == ("image", "text") == DATASETS["food-101"].modalities
    assert table.task.names == CLASSES
    rows = {row.id: row for row in table.rows}
    row = rows["train/apple_pie_4.jpg"]
    assert (row.target, row.split, row.group) == ("apple_pie", "train", None)
    assert row.cells["text"] == 'Grandma\'s "best" apple_pie, ever | food blog'
    assert row.cells["image"].endswith("images/train/apple_pie/apple_pie_4.jpg")
    assert rows["train/pho_3.jpg"].cells["text"].startswith("12 ways, all simple")
    assert rows["test/pho_8.jpg"].split == "test"
    assert rows["train/baklava_24.jpg"].cells["text"] is None  # an empty title is no text
    bad = reasons(table)
    assert len(bad) == 3 and "unknown label 'cake'" in bad["train/cake_1.jpg"]
    assert sorted(reason for reason in bad.values() if "fields" in reason) == [
        "must hold image, title and class, found 2 fields",
        "must hold image, title and class, found 4 fields",
    ]


def test_headings_and_lists_beside_the_images(raw, tmp_path):
    shutil.copytree(raw / "images", tmp_path / "images")
    for part in ("train", "test"):
        text = (raw / "texts" / f"{part}_titles.csv").read_text()
        (tmp_path / f"{part}_titles.csv").write_text("Image_path,text,label\n" + text)
    assert [row.id for row in food_101(tmp_path).rows] == [row.id for row in food_101(raw).rows]


def test_a_field_without_end(raw, tmp_path):
    """It takes what follows it, up to a length: none of that is taken for samples."""
    shutil.copytree(raw, tmp_path / "raw")
    path = tmp_path / "raw" / "texts" / "test_titles.csv"
    text, late = path.read_text(), "pho_9.jpg,late,pho\n" * 3
    for title, more in (("ends nowhere", 0), ("never ending " * 11000, 3)):
        path.write_text(f'{text}apple_pie_8.jpg,"{title}\n{late}')
        table = food_101(tmp_path / "raw")
        assert len(table.rows) == len(food_101(raw).rows) + more
        assert sum("test_titles.csv" in bad.id for bad in table.bad) == 1


def test_a_layout_that_is_not_there(raw, tmp_path):
    with pytest.raises(InputError, match=r"found no .*images/train; RAW must hold images/train/"):
        food_101(tmp_path)
    shutil.copytree(raw / "images", tmp_path / "images")
    with pytest.raises(InputError, match=r"found no .*train_titles\.csv; RAW must hold"):
        food_101(tmp_path)
    shutil.rmtree(tmp_path / "images" / "train")
    (tmp_path / "images" / "train").mkdir()
    shutil.copytree(raw / "texts", tmp_path / "texts")
    with pytest.raises(InputError, match="a folder a class, found 0"):
        food_101(tmp_path)


@pytest.fixture(scope="module")
def out(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "food-101"
    words = ["prepare", "food-101", str(raw), str(out), "--set", "image.size=24", "--quiet"]
    assert main([*words, "--max-bad", "0.3"]) == 0
    return out


def test_prepared(out):
    data = cp.load(str(out))
    assert data.modalities == ("image", "text") and data.task.names == CLASSES
    assert len(data.test) == 6 and len(data.train) + len(data.validation) == 25
    assert data.shapes["image"] == (3, 24, 24)
    batch = data.train[torch.arange(4)]
    assert set(batch.inputs["text"]) == {"input_ids", "attention_mask"}
    assert batch.inputs["image"].shape == (4, 3, 24, 24)
    assert set(bad_rows(out)) >= {f"train/pho_{k}.jpg" for k in (7, 20, 21, 22)}
    assert len(bad_rows(out)) == 7
    lacking = sum(int((~split.present["text"]).sum()) for split in data.splits.values())
    assert lacking == 1


def test_mla(out, tmp_path):
    words = ["train", "--config", "mla-food-101", str(out), "--epochs", "1", "--batch-size", "4"]
    words += ["--encoder", "image=resnet18:crop=20", "--out", str(tmp_path / "run"), "--quiet"]
    assert main(words) == 0
    assert (tmp_path / "run" / "last.safetensors").is_file()


def test_mla_with_models_of_local_folders(raw, tmp_path):
    """As the comment in the configuration says, with models as small as can be."""
    import transformers

    texts = [row.cells["text"] for row in food_101(raw).rows if row.cells["text"]]
    tokenizer = Text(vocabulary=300).fit(texts)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    size |= {"intermediate_size": 16}
    for name, model in (
        ("vit", transformers.ViTModel(transformers.ViTConfig(image_size=24, patch_size=8, **size))),
        ("bert", transformers.BertModel(transformers.BertConfig(vocab_size=300, **size))),
    ):
        model.save_pretrained(tmp_path / name)
    (tmp_path / "bert" / "tokenizer.json").write_text(tokenizer.vocabulary_json)
    out = str(tmp_path / "out")
    words = ["prepare", "food-101", str(raw), out, "--set", "image.size=24", "--quiet"]
    assert main([*words, "--set", f"text.tokenizer={tmp_path}/bert", "--max-bad", "0.3"]) == 0
    words = ["train", "--config", "mla-food-101", out, "--epochs", "1", "--batch-size", "4"]
    words += ["--encoder", f"image=hugging-face:model={tmp_path}/vit:pool=mean"]
    words += ["--encoder", f"text=hugging-face:model={tmp_path}/bert:pool=mean"]
    assert main([*words, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    weights = read_weights(tmp_path / "run" / "last.safetensors")
    assert [tensor.shape for name, tensor in weights.items() if name.endswith("head.weight")] == [
        (len(CLASSES), 16)
    ]


@pytest.mark.parametrize("words", documented("food-101", "prepare"))
def test_commands_of_the_datasheet(words, raw, tmp_path):
    name, _, _, *options = words
    words = ["prepare", name, str(raw), str(tmp_path / "out"), *options]
    assert main([*words, "--set", "image.size=24", "--max-bad", "0.3", "--quiet"]) == 0
