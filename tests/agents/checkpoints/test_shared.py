"""Folders that machines share, on a drive and in an object store: complete and undamaged, or not there."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import CheckpointError, SharedFolder, SharedStorageError
from agents.checkpoints import MANIFEST, Manifest, write_folder
from agents.checkpoints.manifests import drop_file, now

pytestmark = pytest.mark.one_python


@pytest.fixture(params=["drive", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedFolder]:
    """An empty shared folder."""
    if request.param == "drive":
        yield SharedFolder.open(str(tmp_path / "shared"))
    else:
        bucket = request.getfixturevalue("s3")
        yield SharedFolder.open(f"{bucket}/{uuid.uuid4().hex}")


def complete_folder(path: Path, **files: str) -> Path:
    """A folder with these files and its manifest."""

    def write(aside: Path) -> Manifest:
        for name, content in files.items():
            (aside / name).write_text(content)
        return Manifest("checkpoint", "toy", "0" * 64, "dqn", 1, (1, 2, 2), 2, now(), {})

    write_folder(path, write)
    return path


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_folder_comes_back_as_it_was(shared: SharedFolder, tmp_path: Path) -> None:
    local = complete_folder(tmp_path / "here", model="weights", state="{}")
    assert not shared.equals("step-1", local)
    shared.upload(local, "step-1")
    assert shared.equals("step-1", local)
    assert shared.names() == ["step-1"]

    manifest = shared.download("step-1", tmp_path / "there")

    assert contents(tmp_path / "there") == contents(local)
    assert sorted(manifest.files) == ["model", "state"]


def test_an_upload_replaces_what_differs_and_removes_the_rest(shared: SharedFolder, tmp_path: Path) -> None:
    shared.upload(complete_folder(tmp_path / "here", model="old", buffer="large", state="{}"), "step-1")
    newer = complete_folder(tmp_path / "here", model="newer weights", buffer="large", state="{}")
    shared.upload(newer, "step-1")
    drop_file(newer, "buffer")
    shared.upload(newer, "step-1")

    assert (shared / "step-1").names() == sorted(["model", "state", MANIFEST])
    shared.download("step-1", tmp_path / "there")
    assert contents(tmp_path / "there") == contents(newer)


def test_an_interrupted_upload_is_not_complete(shared: SharedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared.upload(complete_folder(tmp_path / "here", a="1", b="2"), "step-1")
    put, uploaded = SharedFolder._put, []

    def dies_after_one(self: SharedFolder, local: Path, name: str) -> None:
        if uploaded:
            raise SharedStorageError("the machine is gone")
        put(self, local, name)
        uploaded.append(name)

    monkeypatch.setattr(SharedFolder, "_put", dies_after_one)
    newer = complete_folder(tmp_path / "newer", a="one", b="two")
    with pytest.raises(SharedStorageError):
        shared.upload(newer, "step-1")
    assert uploaded

    with pytest.raises(CheckpointError, match="its upload was interrupted"):
        shared.download("step-1", tmp_path / "there")
    assert not (tmp_path / "there").exists()
    monkeypatch.undo()
    shared.upload(newer, "step-1")
    shared.download("step-1", tmp_path / "there")
    assert contents(tmp_path / "there") == contents(newer)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damage_is_found_when_a_folder_comes_back(shared: SharedFolder, tmp_path: Path, damage: str) -> None:
    shared.upload(complete_folder(tmp_path / "here", model="weights"), "step-1")
    kept = complete_folder(tmp_path / "there", model="another")
    before = contents(kept)
    (shared / "step-1").remove("model")
    if damage == "changed":
        (shared / "step-1").write("model", b"weight5")

    with pytest.raises(CheckpointError, match=r"step-1: .*model") as caught:
        shared.download("step-1", kept)

    assert shared.url in str(caught.value)
    assert contents(kept) == before


def test_a_manifest_cannot_name_a_file_elsewhere(shared: SharedFolder, tmp_path: Path) -> None:
    local = complete_folder(tmp_path / "here", model="weights")
    manifest = (local / MANIFEST).read_bytes().replace(b'"model"', b'"../../elsewhere"')
    (shared / "step-1").write(MANIFEST, manifest)
    with pytest.raises(CheckpointError, match="is not the name of a file"):
        shared.download("step-1", tmp_path / "a" / "b" / "there")
    assert not (tmp_path / "elsewhere").exists()


def test_files_are_written_read_and_removed(shared: SharedFolder) -> None:
    assert shared.names() == []
    assert shared.read("note") is None
    shared.remove("note")
    shared.write("note", b"text")
    (shared / "folder").write("inner", b"more")
    assert shared.read("note") == b"text"
    assert shared.names() == ["folder", "note"]
    shared.remove("folder")
    assert shared.names() == ["note"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://bucket", "MARIO_CHECKPOINTS=nonsense://bucket cannot be used: Protocol not known"),
        ("sftp://me:kn0wn-password@127.0.0.1/folder", r"MARIO_CHECKPOINTS=sftp://me:\*\*\*@127.0.0.1/folder needs a package"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, message: str) -> None:
    with pytest.raises(SharedStorageError, match=message) as caught:
        SharedFolder.open(url)
    assert "kn0wn-password" not in str(caught.value)


def test_storage_that_does_not_take_files(tmp_path: Path, s3: str) -> None:
    (tmp_path / "file").write_text("no folder")
    for folder in (SharedFolder.open(str(tmp_path / "file")), SharedFolder.open(f"{s3}-of-nobody/folder")):
        with pytest.raises(SharedStorageError, match=r"cannot be written \(note\): \S+") as caught:
            folder.write("note", b"text")
        assert folder.url in str(caught.value)
