"""What the documents say of settings is what the program takes."""

import re
import tomllib
from pathlib import Path

from dispatcher.config import load
from dispatcher.config.shape import is_secret, is_setting, place_of

ROOT = Path(__file__).resolve().parents[2]


def test_the_readmes_example_is_a_configuration(tmp_path: Path) -> None:
    """Every name in it exists and every value may be there; the secrets' files are made first."""
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for name in re.findall(r'"/etc/dispatcher/(\w+)"', example):
        (tmp_path / name).write_text("x" * 32)
    file = tmp_path / "dispatcher.toml"
    file.write_text(example.replace("/etc/dispatcher/", f"{tmp_path}/"))
    assert tomllib.loads(example).keys() == {key.lower() for key in tomllib.loads(example)}
    assert "mitto" == load({}, file).settings.the_default_provider()


def test_settings_that_the_documents_name_exist() -> None:
    """A DISPATCHER_ name in a document that is not a setting would send its reader astray."""
    named: set[str] = set()
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("systemd/*")]:
        named |= set(re.findall(r"\bDISPATCHER_[A-Z0-9_]*[A-Z0-9]\b", document.read_text()))
    unknown = {
        name for name in named if not is_setting(place_of(name)) and not is_secret(place_of(name.removesuffix("_FILE")))
    }
    assert set() == unknown
