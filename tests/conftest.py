"""What the tests of every folder share: the language of messages, and where the data is."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(
    str(Path(__file__).parents[1])
)  # bench/ is not installed; haina is, and is found before the source


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are compared in English, whatever the locale of the machine."""
    monkeypatch.setenv("HAINA_LANG", "en")


@pytest.fixture(autouse=True, scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Programs that tests start must find the installed package, not a source tree in the current folder."""
    os.chdir(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The data folder: HAINA_DATA, or shared/data beside the repository. Without it the test is skipped."""
    folder = Path(os.environ.get("HAINA_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set HAINA_DATA")
    return folder
