"""The repository's public address, which _config.yml names and links and set-up cells repeat.

    python tools/repository.py https://github.com/OWNER/NAME

changes it everywhere: the repository itself, its pages on Colab, and the site on GitHub Pages.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ("_config.yml", "pyproject.toml", "CITATION.cff", "README.md", "book/*.ipynb", "book/*.md")
ADDRESS = r"https://github\.com/([\w-]+)/([\w.-]*\w)"


def owner_and_name(root=ROOT):
    """The two parts of the address in _config.yml."""
    return re.search(r"^  url: " + ADDRESS, (root / "_config.yml").read_text(), re.M).groups()


def move(address, root=ROOT):
    """Change the address in every file that has it."""
    match = re.fullmatch(ADDRESS, address.removesuffix("/").removesuffix(".git"))
    if not match:
        sys.exit("Give the address as URL=https://github.com/OWNER/NAME")
    (old_owner, old_name), (owner, name) = owner_and_name(root), match.groups()
    for path in (path for pattern in FILES for path in sorted(root.glob(pattern))):
        text = before = path.read_text(encoding="utf-8")
        text = re.sub(rf"(github(\.com)?/){re.escape(f'{old_owner}/{old_name}')}(?![\w-])",
                      rf"\g<1>{owner}/{name}", text)
        text = text.replace(f"{old_owner}.github.io/{old_name}", f"{owner}.github.io/{name}")
        if text != before:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(root))


if __name__ == "__main__":
    move(sys.argv[1])
