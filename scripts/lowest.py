"""Print the lowest version of each direct dependency, as constraints for pip.

python -m scripts.lowest video train > constraints.txt
pip install -c constraints.txt '.[video,train]'
"""

import argparse
import re
import tomllib
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("extras", nargs="*", help="of pyproject.toml, beside what all need")
    extras = parser.parse_args().extras
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][e] for e in extras)]
    for requirement in (requirement for requirements in lists for requirement in requirements):
        lowest = re.fullmatch(r"([\w.-]+)(\[\w+])?>=([\d.]+)", requirement)
        if lowest:
            print(f"{lowest[1]}=={lowest[3]}")


if __name__ == "__main__":
    main()
